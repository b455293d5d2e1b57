"""Connections to one service: what is read, what is sent, and what is said of a broken one."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from ullage.clients.line import LARGE_BYTES, LineBroken, encoded, line_to, lines


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers every request of a connection; yields its URL and the bodies that came, one a request."""
    bodies: list[bytes] = []
    left = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                sizes = [line.split(b":")[1] for line in head.lower().splitlines() if line.startswith(b"content-len")]
                bodies.append(await reader.readexactly(int(sizes[0]) if sizes else 0))
                writer.write(answer)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        left.set()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", bodies
        async with asyncio.timeout(30):
            await left.wait()


async def test_an_answer_is_read_and_the_connection_kept():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nRetry-After: 3\r\n\r\n{\"a\": 1}"
    async with answering(answer) as (url, bodies):
        line = line_to(url, connect_s=5)
        for _ in range(2):
            async with line.open("POST", f"{url}/x", b"[1]") as told:
                await told.read()
            assert (told.status, told.json(), told.headers["retry-after"]) == (200, {"a": 1}, "3")
        async with line.open("POST", f"{url}/x", b"x" * (LARGE_BYTES + 1)) as told:
            await told.read()
        await line.close()
    assert [len(body) for body in bodies] == [3, 3, LARGE_BYTES + 1]
    with pytest.raises(RuntimeError, match="is closed"):
        async with line.open("GET", url):
            pass


async def test_who_breaks_off_is_told_from_who_is_not_there():
    nowhere = "http://127.0.0.1:9"
    line = line_to(nowhere, connect_s=5)
    with pytest.raises(LineBroken) as nobody:
        async with line.open("GET", nowhere):
            pass
    await line.close()
    assert nobody.value.unanswered
    async with answering(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n") as (url, _):
        line = line_to(url, connect_s=5)
        with pytest.raises(LineBroken) as rubbish:
            async with line.open("GET", url):
                pass
        await line.close()
    assert not rubbish.value.unanswered


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_lines_are_whole_however_they_are_cut(ending, size):
    told = f"data: a{ending}{ending}data: \u2028b{ending}end".encode()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(told), size):
            yield told[at : at + size]

    assert [line.strip() for line in [one async for one in lines(pieces())] if line.strip()] == [
        b"data: a", "data: \u2028b".encode(), b"end"]


def test_half_a_surrogate_pair_is_escaped():
    assert json.loads(encoded({"text": "a\ud800"})) == {"text": "a\ud800"}
    assert encoded({"text": "ä"}) == '{"text":"ä"}'.encode()


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    from ullage.clients.line import _proxy_of

    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert _proxy_of("http://llm.example/v1") is None
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert _proxy_of("http://llm.example/v1") == "http://proxy:3128"
    assert _proxy_of("http://127.0.0.1:8999") is None
