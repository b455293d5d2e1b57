"""Which code and which words an error gets, by the generation of NIM and by the path's dialect."""

import pytest
from starlette.datastructures import State

from ullage.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidRequest,
    NotReady,
    OutOfMemory,
    Overloaded,
    RequestError,
    TooLarge,
    TooLong,
    UllageError,
    UnknownModel,
)
from ullage.http.dialects import COHERE, EITHER, EITHER_TEI, NIM_1_10, TEI, Said, dialect_of, nim, openai

KINDS = (RequestError, InvalidRequest, TooLong, TooLarge, UnknownModel, Overloaded, NotReady, OutOfMemory,
         DeadlineExceeded, EngineFailed, UllageError)
TABLE = {
    "1.8": (400, 400, 400, 413, 404, 503, 503, 503, 504, 500, 500),
    "1.9": (400, 400, 400, 413, 404, 503, 503, 503, 504, 500, 500),
    "1.10": (400, 422, 422, 413, 404, 503, 503, 503, 504, 500, 500),
    "2.0": (400, 422, 422, 413, 404, 503, 503, 503, 504, 500, 500),
}
SAID = Said("too long", "invalid_request_error", 422, {"a": 1})


@pytest.mark.parametrize("version", TABLE)
def test_codes_of_each_nim_version(version):
    assert tuple(nim(version).status(kind) for kind in KINDS) == TABLE[version]
    assert tuple(openai(nim(version)).status(kind) for kind in KINDS) == TABLE[version]


@pytest.mark.parametrize(
    ("dialect", "codes"),
    [
        (COHERE, (400, 400, 400, 413, 404, 429, 503, 503, 504, 500, 500)),
        (EITHER, (400, 400, 400, 413, 404, 429, 503, 503, 504, 500, 500)),
        (TEI, (400, 422, 413, 413, 404, 429, 503, 503, 504, 424, 500)),
        (EITHER_TEI, (400, 422, 413, 413, 404, 429, 503, 503, 504, 424, 500)),
    ],
)
def test_codes_of_the_other_dialects(dialect, codes):
    assert tuple(dialect.status(kind) for kind in KINDS) == codes


@pytest.mark.parametrize("dialect", [NIM_1_10, openai(NIM_1_10), COHERE, TEI, EITHER, EITHER_TEI])
def test_every_body_is_what_its_dialect_says_it_makes(dialect):
    body = dialect.body(SAID)
    assert dialect.fault.model_validate(body).model_dump() == body
    assert body["message"] == "too long"


def test_the_bodies_have_what_their_clients_read():
    assert NIM_1_10.body(SAID) == {
        "object": "error", "message": "too long", "detail": {"a": 1}, "type": "invalid_request_error"}
    assert openai(NIM_1_10).body(SAID)["error"] == {
        "message": "too long", "type": "invalid_request_error", "param": None, "code": 422}
    assert COHERE.body(SAID) == {"message": "too long", "detail": "too long"}
    assert TEI.body(SAID) == {"error": "too long", "error_type": "validation", "message": "too long"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, "validation"), (413, "validation"), (422, "validation"), (424, "backend"), (429, "overloaded"),
     (500, "backend"), (503, "unhealthy"), (504, "backend")],
)
def test_tei_names_the_kind_of_a_fault(status, kind):
    assert TEI.body(Said("x", "any", status))["error_type"] == kind


def test_a_handler_then_the_path_then_the_service_decide():
    class App:
        state = State({"dialects": {"/rerank": COHERE}, "dialect": nim("1.8")})

    assert dialect_of({"app": App, "path": "/rerank", "state": {"dialect": TEI}}) is TEI
    assert dialect_of({"app": App, "path": "/rerank", "state": {}}) is COHERE
    assert dialect_of({"app": App, "path": "/v1/ranking"}) is App.state.dialect
    assert dialect_of({"path": "/rerank"}) is NIM_1_10
