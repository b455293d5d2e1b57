"""What routes may answer besides their result, in the OpenAPI document: each code with the body of its dialect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from ullage.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    NotReady,
    Overloaded,
    RequestError,
    TooLarge,
    TooLong,
    UllageError,
    UnknownModel,
)
from ullage.http.dialects import Dialect, dialect_of
from ullage.http.keys import OPEN

ANY = (UllageError,)
NEEDS_MODEL = (NotReady,)
TAKES_BODY = (RequestError, InvalidRequest, TooLong, TooLarge, UnknownModel, Overloaded, NotReady, DeadlineExceeded,
              EngineFailed)
REFS = "#/components/schemas/{model}"


def document_faults(app: FastAPI, also: Mapping[str, Dialect] = MappingProxyType({})) -> None:
    """Let the app's OpenAPI document name every code that its routes answer. Call it once all routes are there.

    `also` has paths whose handler may speak a second dialect, with the same body.
    """
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for path, operations in document["paths"].items():
                if path not in OPEN:
                    dialect = dialect_of({"app": app, "path": path})
                    spoken = [dialect, *([also[path]] if path in also else [])]
                    for operation in operations.values():
                        _add(operation, spoken, locked=bool(app.state.door.keys))
                    schemas |= _schemas(dialect.fault)
            for unused in ("HTTPValidationError", "ValidationError"):  # the framework's own, which is never sent
                schemas.pop(unused, None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _add(operation: dict[str, Any], spoken: Sequence[Dialect], *, locked: bool) -> None:
    kinds: tuple[type[UllageError], ...] = ANY
    if "requestBody" in operation:
        kinds += TAKES_BODY
    elif operation.get("tags") == ["tei"]:
        kinds += NEEDS_MODEL
    responses = operation["responses"]
    responses.pop("422", None)
    content = {"application/json": {"schema": {"$ref": REFS.format(model=spoken[0].fault.__name__)}}}
    codes = {dialect.status(kind) for kind in kinds for dialect in spoken} | ({401} if locked else set())
    for code in sorted(codes):
        responses[str(code)] = {"description": HTTPStatus(code).phrase, "content": content} | _headers(code)


def _headers(code: int) -> dict[str, Any]:
    if code not in (429, 503):
        return {}
    described = {"description": "seconds until another try makes sense", "schema": {"type": "integer", "minimum": 1}}
    return {"headers": {"Retry-After": described}}


def _schemas(fault: type[BaseModel]) -> dict[str, Any]:
    made = fault.model_json_schema(ref_template=REFS, mode="serialization")
    return {**made.pop("$defs", {}), fault.__name__: made}
