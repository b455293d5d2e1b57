"""Errors to HTTP answers: one line for the client, the traceback only in the log."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ullage.errors import InvalidRequest, UllageError, Unavailable, outcome
from ullage.http.dialects import Said, dialect_of

log = structlog.get_logger("ullage.http")

FULL_RETRY_S = 30
"""Somebody has to make room first."""


class ErrorResponse(Response):
    """An error that takes the words and the code of the dialect it is sent in."""

    def __init__(self, error: UllageError, detail: object = None, headers: Mapping[str, str] | None = None) -> None:
        what = outcome(error)
        super().__init__(status_code=what.http_status)
        self._error = error
        self._kind = what.kind
        self._detail = detail
        self._extra = dict(headers or {})
        if isinstance(error, Unavailable):
            self._extra["Retry-After"] = str(error.retry_after_s)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        dialect = dialect_of(scope)
        status = dialect.status(type(self._error))
        body = dialect.body(Said(self._error.message, self._kind, status, self._detail))
        await JSONResponse(body, status, headers=self._extra)(scope, receive, send)


def error_response(error: UllageError, detail: object = None, headers: Mapping[str, str] | None = None) -> Response:
    return ErrorResponse(error, detail, headers)


def describe_faults(faults: Sequence[Any]) -> str:
    """All schema faults in one line: where, what, and the value when it is short."""
    said = []
    for fault in faults:
        if fault["type"] == "json_invalid":
            said.append(f"body: JSON decode error at character {fault['loc'][-1]}: {fault['ctx']['error']}")
            continue
        where = ".".join(str(part) for part in fault["loc"] if part != "body") or "body"
        value = repr(fault.get("input"))
        shown = f" (got {value})" if len(value) <= 60 and fault["type"] not in ("missing", "extra_forbidden") else ""
        message = "unknown field" if fault["type"] == "extra_forbidden" else str(fault["msg"])
        said.append(f"{where}: {message}{shown}")
    return "; ".join(said)


def install_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(UllageError)
    async def _ullage(_: Request, error: UllageError) -> Response:
        if outcome(error).http_status >= 500:
            log.warning("request failed", error=type(error).__name__, reason=error.message)
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def _schema(_: Request, error: RequestValidationError) -> Response:
        faults = error.errors()
        return error_response(InvalidRequest(describe_faults(faults)), {"fields": [_plain(f) for f in faults]})

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}"
        body = dialect_of(request.scope).body(Said(message, "http_error", error.status_code))
        return JSONResponse(body, error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def _foreign(_: Request, error: Exception) -> Response:
        log.error("unexpected error", exc_info=error)
        return error_response(UllageError("internal error; the server's log has it under this request id"))


    @app.exception_handler(OSError)
    @app.exception_handler(sqlite3.OperationalError)
    async def _storage(request: Request, error: Exception) -> Response:
        if not disk_is_full(error):
            return await _foreign(request, error)
        log.error("the disk is full", reason=str(error))
        return error_response(Unavailable("the disk that this service writes to is full: make room there, then send "
                                          "this again", retry_after_s=FULL_RETRY_S))


def disk_is_full(error: BaseException) -> bool:
    """Whether it, or what it came from, is a write that found no room."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_FULL:
        return True
    return error.__cause__ is not None and disk_is_full(error.__cause__)


def _plain(fault: Any) -> dict[str, object]:
    return {"loc": [str(part) for part in fault["loc"]], "msg": str(fault["msg"]), "type": str(fault["type"])}
