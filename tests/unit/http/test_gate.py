"""Bodies are weighed before they are read, and a refused one is still heard to its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable

import httpx
import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st

from ullage.errors import Overloaded, TooLarge, UllageError
from ullage.http import gate as gates
from ullage.http.gate import RESERVED_SHARE, ByteGate, GateMiddleware


def test_bodies_together_are_bounded_and_one_alone_may_be_larger():
    gate = ByteGate(100, 300, retry_after_s=lambda: 7)
    with gate.hold(60), gate.hold(40):
        assert gate.held_bytes == 100
        with pytest.raises(Overloaded, match="100 bytes of requests are in work and 2 more exceed 100") as refused, \
                gate.hold(2):
            pass
        assert refused.value.retry_after_s == 7
    with gate.hold(300), pytest.raises(Overloaded), gate.hold(2):
        pass
    with pytest.raises(TooLarge, match="send at most 300 bytes"), gate.hold(301):
        pass
    assert (gate.held_bytes, gate.held, gate.refused) == (0, 0, 3)


def test_a_closed_gate_lets_in_one_at_a_time():
    gate = ByteGate(100, 100)
    gate.closed = "memory is short"
    with gate.hold(10), pytest.raises(Overloaded, match="memory is short: retry in 1 s"), gate.hold(1):
        pass


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 150)), max_size=60), st.integers(0, 400), st.integers(0, 200))
def test_what_is_inside_is_what_was_let_in(steps, capacity, alone):
    gate = ByteGate(capacity, alone)
    inside = []
    for enters, size in steps:
        if enters:
            holding = gate.hold(size)
            try:
                holding.__enter__()
            except UllageError:
                continue
            inside.append((holding, size))
        elif inside:
            inside.pop(size % len(inside))[0].__exit__(None, None, None)
        held = sorted(size for _, size in inside)
        assert gate.held_bytes == sum(held)
        assert sum(held) <= max(capacity, held[-1] if held else 0) + capacity // RESERVED_SHARE
        assert not held or held[-1] <= gate.alone_bytes


def test_a_body_that_fills_the_gate_and_small_ones_do_not_keep_each_other_out():
    gate = ByteGate(64_000, 200_000)
    with gate.hold(150_000), gate.hold(1000), gate.hold(1000), pytest.raises(Overloaded), gate.hold(1001):
        pass
    with gate.hold(1000), gate.hold(150_000):
        assert gate.held_bytes == 151_000
    assert (gate.held_bytes, gate.small_bytes) == (0, 0)


class Server:
    """An app behind a gate, whose handler waits until it is let go on."""

    def __init__(self, gate: ByteGate) -> None:
        self.gate = gate
        self.go = asyncio.Event()
        self.entered = 0
        app = FastAPI()
        app.add_middleware(GateMiddleware, gate=gate)

        @app.post("/echo")
        async def echo(request: Request) -> dict[str, int]:
            size = len(await request.body())
            self.entered += 1
            await self.go.wait()
            return {"size": size}

        @app.post("/json")
        async def parsed(body: dict[str, str]) -> dict[str, int]:
            return {"fields": len(body)}

        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gate")

    async def inside(self, count: int) -> None:
        async with asyncio.timeout(10):
            while self.entered < count:
                await asyncio.sleep(0.001)


async def pieces(of: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in of:
        yield piece


async def test_a_refusal_says_when_to_come_back_and_room_is_given_back():
    server = Server(ByteGate(100, 100, retry_after_s=lambda: 9))
    first = asyncio.create_task(server.client.post("/echo", content=b"x" * 80))
    await server.inside(1)
    refused = await server.client.post("/echo", content=b"x" * 30)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "9")
    assert refused.json()["type"] == "overloaded"
    server.go.set()
    assert (await first).json() == {"size": 80}
    assert (await server.client.post("/echo", content=b"x" * 30)).json() == {"size": 30}
    assert server.gate.held_bytes == 0


@pytest.mark.parametrize("route", ["/echo", "/json"])
async def test_a_body_without_a_declared_length_is_weighed_as_it_comes(route):
    server = Server(ByteGate(100, 200))
    server.go.set()
    refused = await server.client.post(route, content=pieces([b"x" * 50] * 10))
    assert refused.status_code == 413
    assert "send at most 200 bytes" in refused.json()["message"]
    assert server.gate.held_bytes == 0
    small = pieces([json.dumps({"a": "b"}).encode()])
    assert (await server.client.post("/json", content=small, headers={"content-type": "application/json"})).json() == {
        "fields": 1
    }


async def test_a_client_that_stalls_does_not_keep_the_others_out(monkeypatch):
    monkeypatch.setattr(gates, "BODY_TIMEOUT_S", 0.05)
    server = Server(ByteGate(100, 100))
    server.go.set()
    sent: list[dict] = []

    async def stall() -> dict:
        await asyncio.sleep(3600)
        return {}

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/echo", "raw_path": b"/echo", "query_string": b"",
             "headers": [(b"content-length", b"90")], "http_version": "1.1", "scheme": "http", "root_path": "",
             "server": ("gate", 80), "client": ("c", 1)}
    monkeypatch.setattr(gates, "DRAIN_TIMEOUT_S", 0.05)
    async with asyncio.timeout(10):
        await server.client._transport.app(scope, stall, send)
    assert sent[0]["status"] == 504
    assert server.gate.held_bytes == 0


async def test_a_read_only_request_passes_a_closed_gate():
    server = Server(ByteGate(0, 0))
    assert (await server.client.get("/openapi.json")).status_code == 200
    assert (await server.client.post("/echo", content=b"x")).status_code == 413
