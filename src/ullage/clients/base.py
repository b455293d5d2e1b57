"""What every client of a model service shares: one deadline, retries, and errors of our own tree."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from ullage.clients.door import door_of
from ullage.clients.line import LineBroken, Reply, encoded, line_to
from ullage.errors import (
    DeadlineExceeded,
    DependencyDown,
    InvalidRequest,
    RequestError,
    TooLarge,
    TooLong,
    UnknownModel,
)

ATTEMPTS_WHEN_BROKEN = 3
"""A refused connection or a 5xx other than 503 is tried this often; a 429 or 503 until the deadline."""

SHORTEST_WAIT_S = 0.1
LONGEST_WAIT_S = 5.0
BUSY = (429, 503)


class _Again(Exception):
    """One attempt failed in a way that may pass. `busy`: the service answered and asked us to wait `after_s`."""

    def __init__(self, reason: str, *, busy: bool = False, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.busy = busy
        self._after_s = after_s

    def wait_s(self, attempt: int) -> float:
        """Before the next one; `attempt` counts from 1."""
        if self._after_s is not None:
            return max(SHORTEST_WAIT_S, self._after_s)
        return min(LONGEST_WAIT_S, SHORTEST_WAIT_S * 2.0 ** (attempt - 1))


def _failure(state: RetryCallState) -> _Again:
    """Of the attempt that was just made."""
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, _Again):
        raise TypeError(f"{error!r} is not to be tried again")
    return error


class ModelClient:
    """Async calls to one model service, all within `timeout_s` including retries. Share one per service.

    `role` is how the service is called in messages. Raises DependencyDown when the service does not answer or stays
    busy, DeadlineExceeded when it answers too late, and a RequestError when it refuses the request.
    """

    def __init__(
        self,
        base_url: str,
        *,
        role: str,
        model: str | None,
        timeout_s: float,
        connect_s: float | None = None,
        api_key: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self._role = role
        self._model = model
        self._timeout_s = timeout_s
        door = door_of(self.base_url)
        self._line = line_to(self.base_url, connect_s=connect_s or timeout_s, verify=door.verify, headers=door.headers,
                             transport=transport)
        if api_key:
            self._line.headers["Authorization"] = f"Bearer {api_key}"

    async def model(self) -> str:
        """The name sent with requests: the given one, else the first the service lists."""
        if self._model is None:
            self._model = str((await self.listed_model())["id"])
        return self._model

    async def listed_model(self) -> dict[str, Any]:
        """The first entry of `GET /v1/models`."""
        body = await self.call("GET", "/v1/models")
        models = body.get("data") if isinstance(body, dict) else None
        if not isinstance(models, list) or not models or "id" not in models[0]:
            raise DependencyDown(f"{self._role} at {self.base_url} lists no model under /v1/models: "
                                 "check that the URL is that of a model service")
        first: dict[str, Any] = models[0]
        return first

    async def ready(self) -> bool:
        """Whether the service says ready now; no retries."""
        return await self._status(f"{self.base_url}/v1/health/ready") == 200

    async def _status(self, url: str) -> int:
        """Of a GET; 0 when there is no answer within 5 s."""
        try:
            async with (asyncio.timeout(min(5.0, self._timeout_s)),
                        self._line.open("GET", url) as answer):
                await answer.read()
                return int(answer.status)
        except (LineBroken, TimeoutError):
            return 0

    async def close(self) -> None:
        await self._line.close()

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON answer. `body` is sent as JSON."""
        content = None if body is None else encoded(body)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._persistent(method, path, content)
        except _Again as error:
            raise DependencyDown(
                f"{self._role} at {self.base_url} {error}: check that it runs (`ullage status`) and that "
                f"{self._role}_url is right"
            ) from None
        except TimeoutError:
            raise DeadlineExceeded(
                f"{self._role} at {self.base_url} did not answer within {self._timeout_s:g} s: "
                "send less at once or allow more time"
            ) from None

    async def _persistent(self, method: str, path: str, content: bytes | None) -> Any:
        """Attempts until one holds, none is left, or the next would begin after the deadline."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._timeout_s
        try:
            return await self._attempt(method, path, content)
        except _Again as error:
            failed: _Again | None = error

        async def attempt() -> Any:
            """The first is the one that was made: most calls hold at once, and need nothing more."""
            nonlocal failed
            if failed is not None:
                error, failed = failed, None
                raise error
            return await self._attempt(method, path, content)

        def over(state: RetryCallState) -> bool:
            broken = state.attempt_number >= ATTEMPTS_WHEN_BROKEN and not _failure(state).busy
            return broken or clock() + state.upcoming_sleep >= deadline

        attempts = AsyncRetrying(retry=retry_if_exception_type(_Again), stop=over, sleep=asyncio.sleep, reraise=True,
                                 wait=lambda state: _failure(state).wait_s(state.attempt_number))
        return await attempts(attempt)

    async def _attempt(self, method: str, path: str, content: bytes | None) -> Any:
        try:
            async with self._line.open(method, f"{self.base_url}{path}", content, carried_headers()) as answer:
                await answer.read()
        except LineBroken as error:
            raise _Again(f"cannot be reached ({error})") from None
        if answer.status in BUSY:
            raise _Again(f"is busy or not ready ({_reason(answer)})", busy=True, after_s=_retry_after_s(answer))
        if answer.status >= 500:
            raise _Again(f"failed with status {answer.status} ({_reason(answer)})")
        if answer.status >= 400:
            raise _refusal(answer)(f"{self._role} at {self.base_url} refused the request: {_reason(answer)}")
        try:
            return answer.json()
        except ValueError:
            raise DependencyDown(f"{self._role} at {self.base_url} answered {path} with something that is not JSON: "
                                 f"check that {self._role}_url is that of a model service") from None


_CARRIED = (("X-Request-Id", "request_id"), ("traceparent", "traceparent"))


def carried_headers() -> dict[str, str]:
    """The id of the request we are serving, so that one id runs through every service's log, and its trace."""
    known = structlog.contextvars.get_contextvars()
    return {header: str(known[name]) for header, name in _CARRIED if known.get(name)}


def _retry_after_s(answer: Reply) -> float | None:
    """Seconds of `Retry-After`; None when absent or a date, which our services never send."""
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _reason(answer: Reply) -> str:
    """What the service said, in one line."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    said = body.get("message") or body.get("detail") or body.get("error") if isinstance(body, dict) else None
    text = said if isinstance(said, str) else answer.text
    return " ".join(text.split())[:300] or f"status {answer.status}"


def _refusal(answer: Reply) -> type[RequestError]:
    if answer.status == 404:
        return UnknownModel
    if answer.status == 413:
        return TooLarge
    return TooLong if "exceeds maximum allowed token" in answer.text else InvalidRequest

