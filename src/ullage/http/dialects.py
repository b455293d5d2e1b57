"""How each dialect says what went wrong. The path of a request decides its dialect, so that every layer agrees.

NIM's error object is the default. Cohere's and Jina's clients read `message` or `detail`, OpenAI's an object under
`error`, those of text-embeddings-inference (TEI) a text under `error` and its kind under `error_type`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Scope

from ullage.errors import (
    EngineFailed,
    InvalidRequest,
    Overloaded,
    TooLong,
    UllageError,
    Unavailable,
    UnknownModel,
)

Body = dict[str, object]
Statuses = Mapping[type[UllageError], int]


@dataclass(frozen=True, slots=True)
class Said:
    """What went wrong. `kind` is the `type` of an error body; `detail` an object."""

    message: str
    kind: str
    status: int
    detail: object = None


def nim_body(said: Said) -> Body:
    """The NIM error object; `detail` is an object so that clients may index it."""
    return {"object": "error", "message": said.message, "detail": said.detail or {}, "type": said.kind}


def openai_body(said: Said) -> Body:
    """NIM's object with OpenAI's inside: clients of both read it."""
    inside = {"message": said.message, "type": said.kind, "param": None, "code": said.status}
    return {**nim_body(said), "error": inside}


def cohere_body(said: Said) -> Body:
    """`message` for Cohere's clients, `detail` for Jina's."""
    return {"message": said.message, "detail": said.message}


_TEI_KINDS = {400: "empty", 404: "validation", 413: "validation", 422: "tokenizer", 424: "backend", 429: "overloaded",
              503: "unhealthy"}


def tei_body(said: Said) -> Body:
    return {"error": said.message, "error_type": _TEI_KINDS.get(said.status, "backend"), "message": said.message}


@dataclass(frozen=True, slots=True)
class Dialect:
    """`statuses` are the HTTP codes that differ from ours; the nearest class of an error counts."""

    body: Callable[[Said], Body] = nim_body
    statuses: Statuses = field(default_factory=dict)

    def status(self, error: UllageError, otherwise: int) -> int:
        for cls in type(error).__mro__:
            if cls in self.statuses:
                return self.statuses[cls]
        return otherwise


NIM_1_10 = Dialect()
NIM_1_8 = Dialect(statuses={InvalidRequest: 400, TooLong: 400})
COHERE = Dialect(cohere_body, {TooLong: 400, InvalidRequest: 400, Overloaded: 429})
TEI = Dialect(tei_body, {TooLong: 413, Overloaded: 429, EngineFailed: 424, UnknownModel: 404, Unavailable: 503})


def nim(version: str) -> Dialect:
    """The codes of a NIM generation: a request at fault is 400 up to 1.9.0, and 422 from 1.9.1 on."""
    return NIM_1_8 if version in ("1.8", "1.9") else NIM_1_10


def with_body(dialect: Dialect, body: Callable[[Said], Body]) -> Dialect:
    """The codes of one dialect in the words of another."""
    return Dialect(body, dialect.statuses)


def dialect_of(scope: Scope) -> Dialect:
    """What the app of a request has been told about its path; NIM's where it was told nothing."""
    app: Any = scope.get("app")
    if app is None:
        return NIM_1_10
    by_path: Mapping[str, Dialect] = getattr(app.state, "dialects", {})
    default: Dialect = getattr(app.state, "dialect", NIM_1_10)
    return by_path.get(str(scope.get("path", "")), default)
