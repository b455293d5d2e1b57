"""Errors as the blueprint answers them: its codes, its words, and streams where its own client reads streams."""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from fastapi import Response
from fastapi.responses import JSONResponse

from ullage.errors import RequestError, UllageError, Unavailable, outcome
from ullage.rag.wire import Chunks

log = structlog.get_logger("ullage.rag")

UNEXPECTED = "Sorry, there was an error processing your request. Please check the server logs for more details."
SEARCH_AWAY = (
    "Failed to search documents. Service unavailable. Please verify the NIM services are running and accessible."
)


def status_of(error: UllageError) -> int:
    """The contract knows 400 where we know 404 and 422, and 503 for whatever is away or late."""
    if isinstance(error, RequestError):
        return 400
    status = outcome(error).http_status
    return 503 if status == 504 else status


def headers_of(error: UllageError) -> dict[str, str]:
    return {"Retry-After": str(error.retry_after_s)} if isinstance(error, Unavailable) else {}


def as_stream(error: Exception) -> Response:
    """One event with the whole message, and one that ends the stream."""
    if isinstance(error, UllageError):
        return error_stream(error.message, status_of(error), headers=headers_of(error))
    log.error("unexpected error", exc_info=error)
    return error_stream(UNEXPECTED, 500)


def as_message(error: Exception, *, search: bool = False) -> Response:
    """`{"message": ...}`; a search adds the blueprint's sentence for services that are away."""
    if not isinstance(error, UllageError):
        log.error("unexpected error", exc_info=error)
        return JSONResponse({"message": UNEXPECTED}, 500)
    status = status_of(error)
    said = f"{SEARCH_AWAY} ({error.message})" if search and status == 503 else error.message
    return JSONResponse({"message": said}, status, headers=headers_of(error))


def error_stream(message: str, status: int, *, pieces: bool = False, headers: dict[str, str] | None = None) -> Response:
    text = "".join(Chunks("").error(message, pieces=pieces))
    return Response(text, status, media_type="text/event-stream", headers=headers)


def faults_text(faults: Iterable[dict[str, object]]) -> str:
    return "Validation error: " + "; ".join(f"{_where(fault['loc'])}: {fault['msg']}" for fault in faults)


def _where(place: object) -> str:
    parts = [str(part) for part in place if part != "body"] if isinstance(place, tuple | list) else []
    return ".".join(parts) or "body"
