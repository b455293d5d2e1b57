"""Errors to HTTP answers: one line for the client, the traceback only in the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ullage.errors import InvalidRequest, UllageError, Unavailable, outcome

log = structlog.get_logger("ullage.http")


def error_body(message: str, kind: str, detail: object = None) -> dict[str, object]:
    """The NIM error object; `detail` is an object so that clients may index it."""
    return {"object": "error", "message": message, "detail": detail or {}, "type": kind}


def error_response(error: UllageError, detail: object = None) -> JSONResponse:
    what = outcome(error)
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Unavailable) else None
    return JSONResponse(error_body(error.message, what.kind, detail), what.http_status, headers=headers)


def describe_faults(faults: Sequence[Any]) -> str:
    """All schema faults in one line: where, what, and the value when it is short."""
    said = []
    for fault in faults:
        where = ".".join(str(part) for part in fault["loc"] if part != "body") or "body"
        value = repr(fault.get("input"))
        shown = f" (got {value})" if len(value) <= 60 and fault["type"] not in ("missing", "extra_forbidden") else ""
        message = "unknown field" if fault["type"] == "extra_forbidden" else str(fault["msg"])
        said.append(f"{where}: {message}{shown}")
    return "; ".join(said)


def install_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(UllageError)
    async def _ullage(_: Request, error: UllageError) -> JSONResponse:
        if outcome(error).http_status >= 500:
            log.warning("request failed", error=type(error).__name__, reason=error.message)
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def _schema(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = error.errors()
        return error_response(InvalidRequest(describe_faults(faults)), {"fields": [_plain(f) for f in faults]})

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return JSONResponse(error_body(message, "http_error"), error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def _foreign(_: Request, error: Exception) -> JSONResponse:
        log.error("unexpected error", exc_info=error)
        return error_response(UllageError("internal error; the server's log has it under this request id"))


def _plain(fault: Any) -> dict[str, object]:
    return {"loc": [str(part) for part in fault["loc"]], "msg": str(fault["msg"]), "type": str(fault["type"])}
