"""The routes, limits and errors every server shares."""

import asyncio
import errno
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI, Request
from pydantic import BaseModel

from ullage.errors import ModelCorrupt, Overloaded
from ullage.http import ServiceInfo, build_app
from ullage.http.text import FilledText


class Scripted:
    """A lifecycle that waits to be told."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.go = asyncio.Event()
        self.fault = fault
        self.stopped = False

    async def start(self, health) -> None:
        health.loading("loading weights 40 %")
        await self.go.wait()
        if self.fault:
            raise self.fault

    async def stop(self) -> None:
        self.stopped = True


class Body(BaseModel):
    text: FilledText


def make_app(lifecycle, max_body=1000) -> FastAPI:
    info = ServiceInfo("test", models=("a/b", "b"), revision="r1", ledger={"fixed": 1, "weights": 2})
    app = build_app(info, lifecycle, max_body=max_body)

    @app.post("/echo")
    async def echo(body: Body, request: Request) -> dict[str, str]:
        return {"text": body.text, "id": request.state.request_id}

    @app.get("/busy")
    async def busy() -> None:
        raise Overloaded("full", retry_after_s=7)

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("secret detail")

    return app


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        yield client


async def settle(app: FastAPI, state: str) -> None:
    async with asyncio.timeout(5):
        while app.state.health.state != state:
            await asyncio.sleep(0.005)


async def test_live_at_once_ready_only_after_the_start():
    lifecycle = Scripted()
    app = make_app(lifecycle)
    async with running(app) as client:
        await asyncio.sleep(0.01)
        assert (await client.get("/v1/health/live")).json()["status"] == "live"
        waiting = await client.get("/v1/health/ready")
        assert waiting.status_code == 503
        assert waiting.json()["reason"] == "loading weights 40 %"
        lifecycle.go.set()
        await settle(app, "ready")
        body = (await client.get("/v1/health/ready")).json()
        assert body == {"object": "health.response", "message": "Service is ready.", "status": "ready", "ready": True}
    assert lifecycle.stopped


async def test_a_failed_start_is_kept_and_told():
    lifecycle = Scripted(ModelCorrupt("bytes are wrong"))
    app = make_app(lifecycle)
    told = []
    app.state.on_failure = lambda: told.append(True)
    async with running(app) as client:
        lifecycle.go.set()
        await settle(app, "failed")
        assert (await client.get("/v1/health/ready")).json()["reason"] == "bytes are wrong"
    assert told == [True]
    assert isinstance(app.state.failure, ModelCorrupt)


async def test_identity_memory_and_metrics():
    async with running(make_app(Scripted())) as client:
        models = (await client.get("/v1/models")).json()["data"]
        assert [(m["id"], m["root"]) for m in models] == [("a/b", "a/b"), ("b", "a/b")]
        metadata = (await client.get("/v1/metadata")).json()
        assert metadata["modelInfo"][0]["shortName"] == "b:r1"
        assert set(metadata) >= {"version", "repository_override", "assetInfo", "licenseInfo"}
        assert set((await client.get("/v1/version")).json()) == {"release", "api"}
        memory = (await client.get("/v1/memory")).json()
        assert memory["planned_bytes"] == 3
        assert memory["peak_bytes"] >= memory["resident_bytes"] > 1 << 20
        text = (await client.get("/v1/metrics")).text
        assert 'ullage_http_requests_total{method="GET",route="/v1/models",status="200"} 1.0' in text
        assert "ullage_memory_planned_bytes 3.0" in text


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        ({"method": "POST", "url": "/echo", "json": {}}, 422, "text: Field required"),
        ({"method": "POST", "url": "/echo", "json": {"text": " "}}, 422, "must hold more than white space"),
        ({"method": "POST", "url": "/echo", "content": b'{"text": "\\ud800"}'}, 422, "unicode string"),
        ({"method": "POST", "url": "/echo", "content": b"{"}, 422, "JSON decode error"),
        ({"method": "POST", "url": "/echo", "content": b"x" * 1001}, 413, "exceeds the limit of 1000 bytes"),
        ({"method": "GET", "url": "/nowhere"}, 404, "GET /nowhere"),
        ({"method": "GET", "url": "/busy"}, 503, "full"),
        ({"method": "GET", "url": "/bug"}, 500, "internal error"),
    ],
)
async def test_errors_are_one_line_and_an_object(request_, status, said):
    headers = {"content-type": "application/json"}
    async with running(make_app(Scripted())) as client:
        answer = await client.request(**request_, headers=headers)
    assert answer.status_code == status
    body = answer.json()
    assert body["object"] == "error"
    assert said in body["message"]
    assert "\n" not in body["message"]
    assert "secret" not in answer.text
    assert isinstance(body["detail"], dict)


async def test_a_body_without_a_declared_length_is_bounded_too():
    async def stream() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 100

    async with running(make_app(Scripted())) as client:
        answer = await client.post("/echo", content=stream(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


async def test_overload_says_when_to_come_back():
    async with running(make_app(Scripted())) as client:
        assert (await client.get("/busy")).headers["retry-after"] == "7"


def _no_room_in_a_file() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _no_room_in_a_database() -> None:
    database = sqlite3.connect(":memory:")
    try:
        database.execute("PRAGMA max_page_count = 1")
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (randomblob(100000))")
    finally:
        database.close()


@pytest.mark.parametrize("write", [_no_room_in_a_file, _no_room_in_a_database])
async def test_a_full_disk_is_said_and_is_no_fault_of_ours(write):
    app = make_app(Scripted())
    app.get("/write")(write)
    async with running(app) as client:
        answer = await client.get("/write")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "30"
    assert "is full: make room there" in answer.json()["message"]


async def test_a_harmless_request_id_is_kept_and_a_hostile_one_replaced():
    async with running(make_app(Scripted())) as client:
        kept = await client.post("/echo", json={"text": "x"}, headers={"x-request-id": "abc-1"})
        assert kept.headers["x-request-id"] == kept.json()["id"] == "abc-1"
        other = await client.post("/echo", json={"text": "x"}, headers={"x-request-id": "a b;{}"})
        assert other.headers["x-request-id"] != "a b;{}"
        assert len(other.headers["x-request-id"]) == 32
