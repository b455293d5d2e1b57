"""The port before replicas on Ray: what it passes on, what it asks again, what it says when nobody answers."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from ullage.settings import Settings
from ullage.stack.ray.front import Upstream, front_app
from ullage.stack.ray.replica import ANSWERED_BY, Signed, _without_prefix

BODY = {"query": {"text": "q"}, "passages": [{"text": "ü"}]}


class Ray:
    """Serve's proxy: `says` are taken one a request, the last again and again; each is an answer or an error."""

    def __init__(self, *says):
        self.says = list(says)
        self.asked: list[httpx.Request] = []
        self.broken_off = asyncio.Event()

    async def __call__(self, request):
        self.asked.append(request)
        say = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(say, Exception):
            raise say
        if say is asyncio.sleep:
            try:
                await asyncio.Event().wait()
            finally:
                self.broken_off.set()
        return say() if callable(say) else say


def ours(status=200, content=b'{"ok":true}', **headers):
    said = {ANSWERED_BY: "r1", "content-length": str(len(content)), **headers}
    return lambda: httpx.Response(status, stream=httpx.ByteStream(content), headers=said)


def gone(status=500):
    return lambda: httpx.Response(status, stream=httpx.ByteStream(b"Internal Server Error"))


def front(ray, **settings):
    app = front_app("ranking", Settings(**settings), Upstream("http://ray/ranking", httpx.MockTransport(ray)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://front")


async def test_everything_passes_as_it_is():
    ray = Ray(ours(422, b'{"error":"too long"}', **{"x-request-id": "abc", "retry-after": "3", "server": "uvicorn"}))
    async with front(ray) as client:
        answer = await client.post("/v1/ranking?a=b%2Fc", json=BODY, headers={"Authorization": "Bearer k"})
    assert (answer.status_code, answer.json()) == (422, {"error": "too long"})
    assert (answer.headers["x-request-id"], answer.headers["retry-after"]) == ("abc", "3")
    assert "server" not in answer.headers
    [asked] = ray.asked
    assert str(asked.url) == "http://ray/ranking/v1/ranking?a=b%2Fc"
    assert asked.headers["authorization"] == "Bearer k"
    assert json.loads(asked.content) == BODY


async def test_the_replica_hears_at_which_port_it_was_asked():
    ray = Ray(ours())
    async with front(ray) as client:
        await client.post("http://front:8009/v1/infer", json=BODY, headers={"X-Ullage-Port": "1"})
    [asked] = ray.asked
    assert asked.headers.get_list("x-ullage-port") == ["8009"]
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["server"])

    for headers in ([(b"x-ullage-port", b"8009")], [(b"x-ullage-port", b"-1")], []):
        scope = {"type": "http", "path": "/v1/infer", "server": ("127.0.0.1", 8010), "headers": headers}
        await Signed(app, "r1")(scope, None, None)
    assert seen == [("127.0.0.1", 8009), ("127.0.0.1", 8010), ("127.0.0.1", 8010)]


@pytest.mark.parametrize("fault", [gone(), gone(503), gone(404), httpx.ConnectError("refused"),
                                   httpx.RemoteProtocolError("closed without an answer")])
async def test_a_request_whose_replica_died_is_asked_again(fault):
    ray = Ray(fault, fault, ours())
    async with front(ray) as client:
        answer = await client.post("/v1/ranking", json=BODY)
        figures = (await client.get("/v1/metrics")).text
    assert answer.status_code == 200
    assert len({asked.content for asked in ray.asked[:3]}) == 1
    assert "ullage_front_retried_total 2.0" in figures
    assert figures.startswith('{"ok":true}')  # the replica's own come first


@pytest.mark.parametrize("status", [500, 503])
async def test_what_a_replica_says_itself_is_its_answer(status):
    ray = Ray(ours(status))
    async with front(ray) as client:
        assert (await client.post("/v1/ranking", json=BODY)).status_code == status
    assert len(ray.asked) == 1


async def test_without_any_replica_it_says_so_inside_the_deadline():
    ray = Ray(gone(503))
    async with front(ray, request_timeout_s=0.2) as client:
        answer = await client.post("/v1/ranking", json=BODY)
        assert answer.status_code == 503
        assert "ranking has no replica that answers" in answer.text
        tries = len(ray.asked)
        assert tries > 1
        assert (await client.get("/v1/health/ready")).status_code == 503
        assert len(ray.asked) == tries + 1
        assert (await client.get("/v1/health/live")).status_code == 200


async def test_a_body_over_the_limit_is_refused_here():
    ray = Ray(ours())
    async with front(ray, max_body=1000) as client:
        assert (await client.post("/v1/ranking", content=b"x" * 1001)).status_code == 413
    assert ray.asked == []


async def test_a_stream_passes_piece_by_piece():
    more = asyncio.Event()

    async def pieces():
        yield b"data: 1\n\n"
        await more.wait()
        yield b"data: 2\n\n"

    app = front_app("rag", Settings(), Upstream("http://ray/rag", httpx.MockTransport(
        lambda _: httpx.Response(200, content=pieces(), headers={ANSWERED_BY: "r1"}))))
    sent = []

    async def receive():
        if not sent:
            return {"type": "http.request", "body": b"{}", "more_body": False}
        return await asyncio.Event().wait()

    async def send(message):
        sent.append(message)
        if message.get("body") == b"data: 1\n\n":
            more.set()  # the second comes only once the first has gone out

    scope = {"type": "http", "method": "POST", "path": "/v1/generate", "raw_path": b"/v1/generate", "query_string": b"",
             "headers": [], "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"}
    async with asyncio.timeout(30):
        await app(scope, receive, send)
    assert [message.get("body") for message in sent[1:]] == [b"data: 1\n\n", b"data: 2\n\n", b""]


async def test_a_caller_that_leaves_ends_the_work():
    ray = Ray(asyncio.sleep)
    app = front_app("ranking", Settings(), Upstream("http://ray/ranking", httpx.MockTransport(ray)))
    messages = [{"type": "http.request", "body": b"{}", "more_body": False}, {"type": "http.disconnect"}]

    async def receive():
        if len(messages) == 1:
            while not ray.asked:
                await asyncio.sleep(0)
        return messages.pop(0)

    async def send(message):
        raise AssertionError(f"nobody is there to hear {message}")

    scope = {"type": "http", "method": "POST", "path": "/v1/ranking", "raw_path": b"/v1/ranking", "query_string": b"",
             "headers": [], "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"}
    async with asyncio.timeout(30):
        await app(scope, receive, send)
        await ray.broken_off.wait()


async def test_a_replica_signs_its_answers_and_knows_no_prefix():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "root_path": "/ranking", "path": "/ranking/v1/ranking", "raw_path": b"/ranking/v1/ranking"}
    await Signed(app, "r7")(scope, None, send)
    assert (seen[0]["path"], seen[0]["root_path"], seen[0]["raw_path"]) == ("/v1/ranking", "", b"/v1/ranking")
    assert sent[0]["headers"] == [(ANSWERED_BY.encode(), b"r7")]
    assert _without_prefix({"path": "/x"}) == {"path": "/x"}
