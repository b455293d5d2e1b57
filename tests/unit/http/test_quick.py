"""A route that parses good bodies itself, and leaves everything else to FastAPI."""

from __future__ import annotations

from typing import Annotated, Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI, Header, Request, Response
from pydantic import BaseModel, ConfigDict

from ullage.http.answer import answered
from ullage.http.quick import quick_post

Shout = Annotated[str | None, Header(alias="X-Shout")]


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: str
    times: int = 1


class Said(BaseModel):
    text: str
    where: str
    cut: bool | None = None


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI()
    made.state.taken = []

    async def say(place: str, body: Asked, request: Request, shout: Shout = None) -> Response:
        made.state.taken.append(await request.json() if request.headers.get("x-look") else body.text)
        text = body.text * body.times
        return answered({"text": text.upper() if shout else text, "where": place}, {"X-Said": "yes"})

    quick_post(made, "/say/{place}", say, answers=Said, tag="saying")
    return made


async def post(app: FastAPI, **sent: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here") as client:
        return await client.post("/say/pier", **sent)


async def test_a_good_body_reaches_the_endpoint_with_path_and_request(app: FastAPI) -> None:
    answer = await post(app, json={"text": "é", "times": 2}, headers={"x-look": "1"})
    assert answer.status_code == 200
    assert answer.json() == {"text": "éé", "where": "pier"}
    assert answer.headers["x-said"] == "yes"
    assert answer.headers["content-type"] == "application/json"
    assert app.state.taken == [{"text": "é", "times": 2}]


async def test_an_optional_header_is_seen(app: FastAPI) -> None:
    assert (await post(app, json={"text": "gull"}, headers={"x-shout": "1"})).json()["text"] == "GULL"


@pytest.mark.parametrize(("sent", "where", "kind"), [
    ({"content": b'{"text": 1}', "headers": {"content-type": "application/json"}}, ["body", "text"], "string_type"),
    ({"json": {"text": "a", "times": "2"}}, ["body", "times"], "int_type"),
    ({"json": {"text": "a", "times": 2.0}}, ["body", "times"], "int_type"),
    ({"json": {"text": "a", "more": 1}}, ["body", "more"], "extra_forbidden"),
    ({"content": b'{"text": "a"', "headers": {"content-type": "application/json"}}, ["body", 12], "json_invalid"),
    ({"content": b'{"text": "a"}', "headers": {"content-type": "text/plain"}}, ["body"], "model_attributes_type"),
], ids=["no text", "no number", "no whole number", "unknown", "cut off", "another type"])
async def test_what_is_wrong_is_said_in_the_usual_words(
    app: FastAPI, sent: dict[str, Any], where: list[Any], kind: str
) -> None:
    answer = await post(app, **sent)
    assert answer.status_code == 422
    [fault] = answer.json()["detail"]
    assert (fault["loc"], fault["type"]) == (where, kind)
    assert app.state.taken == []


async def test_the_document_names_body_header_and_answer(app: FastAPI) -> None:
    operation = app.openapi()["paths"]["/say/{place}"]["post"]
    assert operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("/Asked")
    assert {each["name"] for each in operation["parameters"]} == {"place", "X-Shout"}
    assert operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/Said")


def test_arrays_are_written_as_lists() -> None:
    rows = np.asarray([[0.25, -1.5]], np.float32)
    answer = answered({"rows": rows, "signs": np.asarray([1, -2], np.int8)}, {})
    assert answer.body == b'{"rows":[[0.25,-1.5]],"signs":[1,-2]}'


def test_a_number_of_any_size_comes_back_as_it_was_sent() -> None:
    assert answered({"sent": {"number": 1 << 70, "none": float("nan")}}, {}).body == (
        b'{"sent":{"number":1180591620717411303424,"none":null}}')
