"""How each dialect says what went wrong. The path of a request decides its dialect, so that every layer agrees.

NIM's error object is the default. Cohere's and Jina's clients read `message` or `detail`, OpenAI's an object under
`error`, those of text-embeddings-inference (TEI) a text under `error` and its kind under `error_type`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from starlette.types import Scope

from ullage.errors import (
    EngineFailed,
    InvalidRequest,
    Overloaded,
    TooLong,
    UllageError,
    outcome_of,
)

Body = dict[str, Any]
Statuses = Mapping[type[UllageError], int]


@dataclass(frozen=True, slots=True)
class Said:
    """What went wrong. `kind` is the `type` of an error body; `detail` an object."""

    message: str
    kind: str
    status: int
    detail: object = None


class NimFault(BaseModel):
    """`detail` is an object so that clients may index it."""

    object: Literal["error"] = "error"
    message: str
    detail: dict[str, Any]
    type: str


class OpenAiError(BaseModel):
    message: str
    type: str
    param: None
    code: int


class OpenAiFault(NimFault):
    """NIM's with OpenAI's inside: clients of both read it."""

    error: OpenAiError


class CohereFault(BaseModel):
    """`message` for Cohere's clients, `detail` for Jina's."""

    message: str
    detail: str


class TeiFault(BaseModel):
    error: str
    error_type: str
    message: str


class EitherFault(TeiFault):
    """Of a path that is TEI's and Jina's: clients of both read it."""

    detail: str


def nim_body(said: Said) -> Body:
    return {"object": "error", "message": said.message, "detail": said.detail or {}, "type": said.kind}


def openai_body(said: Said) -> Body:
    inside = {"message": said.message, "type": said.kind, "param": None, "code": said.status}
    return {**nim_body(said), "error": inside}


def cohere_body(said: Said) -> Body:
    return {"message": said.message, "detail": said.message}


def tei_body(said: Said) -> Body:
    special = {424: "backend", 429: "overloaded", 503: "unhealthy"}
    kind = special.get(said.status, "validation" if said.status < 500 else "backend")
    return {"error": said.message, "error_type": kind, "message": said.message}


def either_body(said: Said) -> Body:
    return {**tei_body(said), **cohere_body(said)}


@dataclass(frozen=True, slots=True)
class Dialect:
    """`statuses` are the HTTP codes that differ from ours; the nearest class of an error counts. `fault` is what
    `body` makes."""

    body: Callable[[Said], Body] = nim_body
    fault: type[BaseModel] = NimFault
    statuses: Statuses = field(default_factory=dict)

    def status(self, kind: type[UllageError]) -> int:
        """The HTTP code of an error of this class."""
        for cls in kind.__mro__:
            if cls in self.statuses:
                return self.statuses[cls]
        return outcome_of(kind).http_status


NIM_1_10 = Dialect()
NIM_1_8 = Dialect(statuses={InvalidRequest: 400, TooLong: 400})
COHERE = Dialect(cohere_body, CohereFault, {TooLong: 400, InvalidRequest: 400, Overloaded: 429})
TEI = Dialect(tei_body, TeiFault, {TooLong: 413, Overloaded: 429, EngineFailed: 424})
EITHER = Dialect(either_body, EitherFault, COHERE.statuses)
EITHER_TEI = Dialect(either_body, EitherFault, TEI.statuses)


def nim(version: str) -> Dialect:
    """The codes of a NIM generation: a request at fault is 400 up to 1.9.0, and 422 from 1.9.1 on."""
    return NIM_1_8 if version in ("1.8", "1.9") else NIM_1_10


def openai(nim: Dialect) -> Dialect:
    """The codes of a NIM generation in words that OpenAI's clients read too."""
    return Dialect(openai_body, OpenAiFault, nim.statuses)


def dialect_of(scope: Scope) -> Dialect:
    """What a handler said of this request, else what its app has been told about the path, else NIM's."""
    said: Dialect | None = scope.get("state", {}).get("dialect")
    if said is not None:
        return said
    app: Any = scope.get("app")
    if app is None:
        return NIM_1_10
    by_path: Mapping[str, Dialect] = getattr(app.state, "dialects", {})
    default: Dialect = getattr(app.state, "dialect", NIM_1_10)
    return by_path.get(str(scope.get("path", "")), default)
