"""Who may see the page."""

import time

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from ullage.http.keys import NO_KEYS, Keys
from ullage.web import guard
from ullage.web.guard import SESSION, VISITOR, GuardMiddleware, Sessions

KEYS = Keys.of("first,second")
HTML = {"accept": "text/html"}


@pytest.fixture
async def client(monkeypatch):
    monkeypatch.setattr(guard, "WRONG_KEY_S", 0)
    made = []

    def of(keys=KEYS, secure=False):
        seen = Starlette(routes=[Route("/{path:path}", lambda request: PlainTextResponse(request.state.visitor))])
        transport = httpx.ASGITransport(GuardMiddleware(seen, keys=keys, secure=secure))
        made.append(httpx.AsyncClient(transport=transport, base_url="http://page"))
        return made[-1]

    yield of
    for opened in made:
        await opened.aclose()


async def test_without_keys_everybody_may_and_is_known_again(client):
    page = client(NO_KEYS)
    first = await page.get("/", headers=HTML)
    assert first.status_code == 200
    assert "HttpOnly; SameSite=Lax" in first.headers["set-cookie"]
    assert page.cookies[VISITOR] == first.text
    again = await page.get("/", headers=HTML)
    assert again.text == first.text
    assert "set-cookie" not in again.headers
    assert (await page.get("/login")).status_code == 303


async def test_a_cookie_that_is_none_of_ours_is_replaced(client):
    page = client(NO_KEYS)
    for sent in ("../../etc/passwd", "x" * 32, "A" * 32, ""):
        answer = await page.get("/", headers={**HTML, "cookie": f"{VISITOR}={sent}"})
        assert answer.text != sent
        assert len(answer.text) == 32


async def test_with_keys_a_person_is_sent_to_the_login_and_a_program_refused(client):
    page = client()
    person = await page.get("/stack", headers=HTML)
    assert (person.status_code, person.headers["location"]) == (303, "/login")
    program = await page.get("/page")
    assert program.status_code == 401
    assert "API key" in program.json()["message"]
    assert (await page.get("/v1/health/ready")).status_code == 200
    assert (await page.get("/v1/metrics", headers={"Authorization": "Bearer second"})).status_code == 200
    assert (await page.get("/v1/metrics", headers={"X-API-Key": "wrong"})).status_code == 401


async def test_a_right_key_opens_the_page_until_the_session_ends(client):
    page = client(secure=True)
    assert (await page.post("/login", data={"key": "wrong"})).status_code == 401
    assert SESSION not in page.cookies
    opened = await page.post("/login", data={"key": " second "})
    assert opened.status_code == 303
    assert "Secure" in opened.headers["set-cookie"]
    cookie = opened.headers["set-cookie"].partition(";")[0]
    assert (await page.get("/", headers={**HTML, "cookie": cookie})).status_code == 200
    value = cookie.partition("=")[2]
    other = "0" if value[-1] != "0" else "1"
    for forged in (value[:-1] + other, "9" + value, f"{int(time.time()) - 5}.x", "", "x.y"):
        assert (await page.get("/", headers={**HTML, "cookie": f"{SESSION}={forged}"})).status_code == 303
    assert not Sessions(Keys.of("first")).holds(value)


async def test_a_form_that_is_no_login_is_refused(client):
    page = client()
    for body in (b"", b"key=", b"\xff\xfe=1", b"key=" + b"x" * 9000):
        assert (await page.post("/login", content=body)).status_code == 401


async def test_a_browser_is_told_to_fetch_nothing_from_elsewhere(client):
    answer = await client(NO_KEYS).get("/", headers=HTML)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("headers", "status"), [
    ({"host": "127.0.0.1:8090"}, 200), ({"host": "[::1]:8090"}, 200), ({"host": "localhost"}, 200),
    ({"host": "localhost", "origin": "http://localhost"}, 200), ({"host": "attacker.example"}, 421),
    ({"host": "127.0.0.1.attacker.example:8090"}, 421),
    ({"host": "127.0.0.1", "origin": "https://attacker.example"}, 421),
    ({"host": "127.0.0.1", "origin": "null"}, 421), ({"host": ""}, 421),
])
async def test_on_loopback_another_site_cannot_make_its_name_lead_here(headers, status):
    seen = Starlette(routes=[Route("/{path:path}", lambda _: PlainTextResponse("seen"))])
    guarded = GuardMiddleware(seen, keys=NO_KEYS, secure=False, loopback=True)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guarded), base_url="http://127.0.0.1") as page:
        assert (await page.get("/conversation.md", headers=headers)).status_code == status
        # The supervisor asks over a socket that has no name of ours.
        assert (await page.get("/v1/health/ready", headers=headers)).status_code == 200


async def test_a_socket_without_a_session_is_closed():
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/_nicegui_ws/socket.io/", "headers": []}
    await GuardMiddleware(None, keys=KEYS, secure=False)(scope, None, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
