"""API keys: all but health asks for one, and every one is compared in constant time."""

import hmac

import httpx
import pytest
from fastapi import FastAPI

from ullage.errors import SettingsError
from ullage.http import ServiceInfo, build_app
from ullage.http.door import Door
from ullage.http.keys import Keys
from ullage.settings import Settings


class Idle:
    async def start(self, health) -> None: ...

    async def stop(self) -> None: ...


@pytest.fixture
def locked() -> FastAPI:
    door = Door.of(Settings(api_keys="first, second"), "ranking")
    app = build_app(ServiceInfo("test", models=("a/b",)), Idle(), max_body=1000, door=door)

    @app.post("/echo")
    async def echo() -> str:
        return "in"

    return app


def client(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t")


GOOD = [{"authorization": "Bearer first"}, {"authorization": "bearer  second "}, {"x-api-key": "second"},
        {"authorization": "Bearer wrong", "x-api-key": "first"}]
BAD = [{}, {"authorization": "Bearer"}, {"authorization": "first"}, {"authorization": "Basic first"},
       {"authorization": "Bearer firs"}, {"authorization": "Bearer first, second"}, {"x-api-key": ""},
       {"x-api-key": "FIRST"}, {"authorization": b"Bearer first\xff"}]


@pytest.mark.parametrize("headers", GOOD)
async def test_a_key_in_either_header_admits(locked, headers):
    async with client(locked) as http:
        assert (await http.post("/echo", headers=headers)).json() == "in"


@pytest.mark.parametrize("headers", BAD)
async def test_anything_else_is_refused_without_a_word_of_the_keys(locked, headers):
    async with client(locked) as http:
        answer = await http.post("/echo", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {"object": "error", "message": Keys.REFUSAL, "detail": {}, "type": "authentication_error"}
    assert "first" not in answer.text


async def test_everything_but_health_asks_for_a_key(locked):
    async with client(locked) as http:
        paths = [route.path for route in locked.routes if "GET" in (getattr(route, "methods", None) or ())]
        open_to_all = [path for path in paths if (await http.get(path)).status_code not in (401,)]
        assert (await http.get("/nowhere")).status_code == 401
    assert sorted(open_to_all) == ["/v1/health/live", "/v1/health/ready"]
    assert {"/v1/models", "/v1/metrics", "/v1/openapi.json", "/docs", "/v1/memory"} <= set(paths)


async def test_a_refusal_is_counted(locked):
    async with client(locked) as http:
        await http.post("/echo")
        text = (await http.get("/v1/metrics", headers=GOOD[0])).text
    assert 'ullage_http_requests_total{method="POST",route="unmatched",status="401"} 1.0' in text


def test_every_key_is_compared_whatever_the_first_gave(monkeypatch):
    compared = []

    def compare(given, key):
        compared.append(key)
        return hmac._real(given, key)

    monkeypatch.setattr(hmac, "_real", hmac.compare_digest, raising=False)
    monkeypatch.setattr("ullage.http.keys.hmac.compare_digest", compare)
    keys = Keys.of("a,b,c")
    assert keys.admit("Bearer a", "")
    assert not keys.admit("Bearer x", "y")
    assert compared == [b"a", b"b", b"c"] * 3


@pytest.mark.parametrize("text", ["", "  "])
def test_nothing_is_no_key_and_open(text):
    assert not Keys.of(text)


@pytest.mark.parametrize(("text", "said"), [(",", "holds no key"), ("a,b c", "key 2"), ("schlüssel", "key 1")])
def test_keys_that_nobody_could_send_stop_the_start(text, said):
    with pytest.raises(SettingsError, match=said) as refused:
        Keys.of(text)
    assert "schl" not in refused.value.message


def test_no_print_shows_a_key():
    assert "first" not in repr(Keys.of("first"))
    assert "first" not in repr(Settings(api_keys="first"))
    assert "first" not in Settings(api_keys="first").model_dump_json()
