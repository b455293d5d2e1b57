"""One pass around every request: its id, its size limit, its time, its line in the log."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ullage.errors import TooLarge
from ullage.http.errors import error_response
from ullage.http.metrics import HttpMetrics

log = structlog.get_logger("ullage.http")
REQUEST_ID = "x-request-id"
_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class RequestMiddleware:
    """Takes the caller's `X-Request-Id` when it is harmless, else makes one; answers 413 over `max_body` bytes."""

    def __init__(self, app: ASGIApp, *, max_body: int, metrics: HttpMetrics) -> None:
        self._app = app
        self._max_body = max_body
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
        given = headers.get(REQUEST_ID, "")
        request_id = given if _SAFE_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.bind_contextvars(request_id=request_id)
        begun = time.perf_counter()
        status = 0
        seen = 0
        refused = False

        async def limited_receive() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body:
                raise TooLarge(self._limit_text(seen))
            return message

        async def limited_send(message: Message) -> None:
            # Frameworks turn an error while the body is read into a 400 of their own.
            nonlocal refused
            if seen > self._max_body and status == 0 and not refused:
                refused = True
                await error_response(TooLarge(self._limit_text(seen)))(scope, receive, tagged_send)
            elif not refused:
                await tagged_send(message)

        async def tagged_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (REQUEST_ID.encode(), request_id.encode())]
            await send(message)

        try:
            declared = headers.get("content-length", "0")
            if declared.isdigit() and int(declared) > self._max_body:
                await error_response(TooLarge(self._limit_text(int(declared))))(scope, receive, tagged_send)
            else:
                await self._app(scope, limited_receive, limited_send)
        finally:
            seconds = time.perf_counter() - begun
            route = _route(scope)
            self._metrics.observe(route, scope["method"], status, seconds)
            self._log(scope, status, seconds)
            structlog.contextvars.unbind_contextvars("request_id")

    def _limit_text(self, size: int) -> str:
        return f"request body of at least {size} bytes exceeds the limit of {self._max_body} bytes (max_body)"

    def _log(self, scope: Scope, status: int, seconds: float) -> None:
        path = str(scope["path"])
        write = log.debug if "/health/" in path or path.endswith("/metrics") else log.info
        write("request", method=scope["method"], path=path, status=status, ms=round(seconds * 1e3, 2))


def _route(scope: Scope) -> str:
    """The route's template, so that paths with names in them stay one series."""
    return str(getattr(scope.get("route"), "path", "unmatched"))
