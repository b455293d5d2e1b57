"""What every client of a model service shares: one deadline, retries, and errors of our own tree."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import structlog
import tenacity

from ullage.clients.door import door_of
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
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=256)
"""A queue is the service's affair: with the library's 100 connections the 101st caller would wait here unseen."""


class _Again(Exception):
    """One attempt failed in a way that may pass. `busy`: the service answered and asked us to wait `after_s`."""

    def __init__(self, reason: str, *, busy: bool = False, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.busy = busy
        self.after_s = after_s


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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/").removesuffix("/v1")
        self._role = role
        self._model = model
        self._timeout_s = timeout_s
        door = door_of(self.base_url)
        self._http = httpx.AsyncClient(base_url=self.base_url, timeout=timeout_s, transport=transport,
                                       verify=door.verify, headers=door.headers, limits=LIMITS)

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
        try:
            answer = await self._http.get("/v1/health/ready", timeout=min(5.0, self._timeout_s))
        except httpx.HTTPError:
            return False
        return answer.status_code == 200

    async def close(self) -> None:
        await self._http.aclose()

    async def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON answer. `body` is sent as JSON."""
        waiting = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_Again),
            stop=self._stop,
            wait=_wait_s,
            reraise=True,
        )
        try:
            async with asyncio.timeout(self._timeout_s):
                return await waiting(self._attempt, method, path, body)
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

    def _stop(self, state: tenacity.RetryCallState) -> bool:
        return tenacity.stop_before_delay(self._timeout_s)(state) or _broken_too_often(state)

    async def _attempt(self, method: str, path: str, body: object) -> Any:
        try:
            answer = await self._http.request(method, path, json=body, headers=carried_headers())
        except httpx.TimeoutException:
            raise TimeoutError from None
        except httpx.TransportError as error:
            raise _Again(f"cannot be reached ({_first_line(error)})") from None
        if answer.status_code in BUSY:
            raise _Again(f"is busy or not ready ({_reason(answer)})", busy=True, after_s=_retry_after_s(answer))
        if answer.status_code >= 500:
            raise _Again(f"failed with status {answer.status_code} ({_reason(answer)})")
        if answer.status_code >= 400:
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


def _cause(state: tenacity.RetryCallState) -> _Again | None:
    error = state.outcome.exception() if state.outcome is not None else None
    return error if isinstance(error, _Again) else None


def _broken_too_often(state: tenacity.RetryCallState) -> bool:
    cause = _cause(state)
    return cause is not None and not cause.busy and state.attempt_number >= ATTEMPTS_WHEN_BROKEN


def _wait_s(state: tenacity.RetryCallState) -> float:
    cause = _cause(state)
    if cause is not None and cause.after_s is not None:
        return max(SHORTEST_WAIT_S, cause.after_s)
    return float(min(LONGEST_WAIT_S, SHORTEST_WAIT_S * 2 ** (state.attempt_number - 1)))


def _retry_after_s(answer: httpx.Response) -> float | None:
    """Seconds of `Retry-After`; None when absent or a date, which our services never send."""
    try:
        return max(0.0, float(answer.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def _reason(answer: httpx.Response) -> str:
    """What the service said, in one line."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    said = body.get("message") or body.get("detail") or body.get("error") if isinstance(body, dict) else None
    text = said if isinstance(said, str) else answer.text
    return " ".join(text.split())[:300] or f"status {answer.status_code}"


def _refusal(answer: httpx.Response) -> type[RequestError]:
    if answer.status_code == 404:
        return UnknownModel
    if answer.status_code == 413:
        return TooLarge
    return TooLong if "exceeds maximum allowed token" in answer.text else InvalidRequest


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
