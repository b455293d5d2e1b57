"""One request, one answer, no second try: for callers with a person in front of them, who would rather hear why."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ullage.clients.base import carried_headers
from ullage.clients.door import door_of
from ullage.errors import (
    DeadlineExceeded,
    DependencyDown,
    InvalidRequest,
    NotFound,
    NotReady,
    TooLarge,
    UllageError,
)

CONNECT_S = 5.0


class Once:
    """Calls to one service. `role` names it in messages; `api_key`, if there is one, is sent instead of the door's.

    Raises DependencyDown when it does not answer or fails, NotReady, DeadlineExceeded after `timeout_s` of silence,
    NotFound, TooLarge or InvalidRequest when it refuses.
    """

    def __init__(
        self, base_url: str, *, role: str, timeout_s: float = 30.0, api_key: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self.role = role
        self._timeout_s = timeout_s
        door = door_of(self.base_url)
        self._http = httpx.AsyncClient(
            base_url=self.base_url, transport=transport, timeout=httpx.Timeout(timeout_s, connect=CONNECT_S),
            headers={"Authorization": f"Bearer {api_key}"} if api_key else door.headers, verify=door.verify,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, *, body: object = None, **query: object) -> Any:
        """The JSON answer. Query values that are None are left out."""
        async with self.stream(method, path, body=body, query=query) as answer:
            await answer.aread()
            try:
                return answer.json()
            except ValueError:
                raise self.wrong(path, "something that is not JSON") from None

    async def text(self, path: str) -> str:
        async with self.stream("GET", path) as answer:
            await answer.aread()
            return answer.text

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, *, body: object = None, query: Mapping[str, object] | None = None,
        content: AsyncIterator[bytes] | None = None, headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """An answer below 400 whose body has not been read. Breaking off inside the block is ours to say too."""
        known: dict[str, Any] = {name: value for name, value in (query or {}).items() if value is not None}
        request = self._http.build_request(method, path, json=body, params=known, content=content,
                                           headers={**carried_headers(), **(headers or {})})
        try:
            answer = await self._http.send(request, stream=True)
            try:
                if answer.status_code >= 400:
                    await answer.aread()
                    raise self._refusal(answer.status_code, self.said(answer))
                yield answer
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            raise self._broken(error) from None

    def said(self, answer: httpx.Response) -> str:
        """Why the service refuses, in one line."""
        return said_in(answer)

    def _refusal(self, status: int, said: str) -> UllageError:
        if status == 404:
            return NotFound(said)
        if status == 413:
            return TooLarge(said)
        if status == 503:
            return NotReady(said)
        if status in (408, 504):
            return DeadlineExceeded(said)
        if status == 401:
            return InvalidRequest(f"{self.role} at {self.base_url} wants an API key: set the same api_keys here")
        # The replaced ingestor answers 500 for a collection that is not there.
        return InvalidRequest(said) if status < 500 or "does not exist" in said else DependencyDown(said)

    def wrong(self, path: str, what: str) -> UllageError:
        return DependencyDown(f"{self.role} at {self.base_url} answered {path} with {what}: check {self.role}_url")

    def _broken(self, error: httpx.HTTPError) -> UllageError:
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return DependencyDown(f"{self.role} does not answer at {self.base_url}: `ullage status` shows whether it "
                                  f"runs, {self.role}_url says where it should")
        if isinstance(error, httpx.TimeoutException):
            return DeadlineExceeded(f"{self.role} at {self.base_url} said nothing for {self._timeout_s:g} s")
        return DependencyDown(f"{self.role} at {self.base_url} broke off: {error or type(error).__name__}")


def said_in(answer: httpx.Response) -> str:
    """What a service said, in one line; `detail` may be FastAPI's list of faults."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    said = None
    if isinstance(body, dict):
        said = body.get("message") or body.get("detail") or body.get("error")
        if isinstance(said, list):
            said = "; ".join(str(fault.get("msg", fault)) if isinstance(fault, dict) else str(fault) for fault in said)
    text = said if isinstance(said, str) else answer.text
    return " ".join(text.split())[:500] or f"status {answer.status_code}"
