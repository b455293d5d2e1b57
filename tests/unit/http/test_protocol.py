"""The parser of our servers, by bytes on a connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from ullage.http.protocol import MAX_HEAD_BYTES, BoundedHttp

POST = b"POST /echo HTTP/1.1\r\nHost: here\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the path and the length of the body."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = f"{scope['path']} {size}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(text))]})
    await send({"type": "http.response.body", "body": text})


class Line:
    """One connection to a server of its own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length"))
        return int(lines[0].split()[1]), await self.reader.readexactly(length)

    async def pour(self, piece: bytes, limit_bytes: int) -> int:
        """Send `piece` again and again until the server closes; how many bytes it took until then."""
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < limit_bytes and not self.reader.at_eof():
                await self.send(piece)
                sent += len(piece)
                await asyncio.sleep(0)
        return sent


@contextlib.asynccontextmanager
async def connected(app: ASGIApp = echo) -> AsyncIterator[Line]:
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", ws="none", http=BoundedHttp)
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: BoundedHttp(config, state, {}), "127.0.0.1", 0)
    async with server:
        line = Line(*await asyncio.open_connection(*server.sockets[0].getsockname()))
        try:
            yield line
        finally:
            line.writer.close()
            for connection in list(state.connections):
                connection.shutdown()
            await asyncio.gather(*state.tasks, return_exceptions=True)


async def refused(line: Line, piece: bytes) -> None:
    sent = await line.pour(piece, 64 * MAX_HEAD_BYTES)
    assert sent < 64 * MAX_HEAD_BYTES, "the server took it all"
    with contextlib.suppress(ConnectionError):  # the answer may be lost with what was still under way
        status, text = await line.answer()
        assert status == 400
        assert text == b"Request head over 65536 bytes."


async def test_requests_one_after_another_on_one_connection() -> None:
    async with connected() as line:
        for size in (0, 5, 300_000):
            await line.send(POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
            assert await line.answer() == (200, b"/echo %d" % size)


async def test_pipelined_requests_are_answered_in_order_however_many_bytes_they_are() -> None:
    async with connected() as line:
        for size in (3, 100_000, 7):
            await line.send(POST + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
        assert [await line.answer() for _ in range(3)] == [(200, b"/echo 3"), (200, b"/echo 100000"), (200, b"/echo 7")]


async def test_a_chunked_body_may_be_long() -> None:
    async with connected() as line:
        await line.send(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(40):
            await line.send(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        await line.send(b"0\r\n\r\n")
        assert await line.answer() == (200, b"/echo 163840")


async def test_a_head_just_under_the_bound_is_read_in_pieces() -> None:
    async with connected() as line:
        await line.send(POST)
        for number in range(15):
            await line.send(b"X-%d: " % number + b"v" * 4000 + b"\r\n")
            await asyncio.sleep(0.001)
        await line.send(b"Content-Length: 2\r\n\r\nok")
        assert await line.answer() == (200, b"/echo 2")


@pytest.mark.parametrize(("begin", "piece"), [
    (POST, b"X-Many: " + b"v" * 200 + b"\r\n"),
    (POST + b"X-One: ", b"v" * 1024),
    (b"GET /", b"a" * 1024),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", b"X-Trailer: " + b"v" * 200 + b"\r\n"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n2;", b"e" * 1024),
], ids=["many headers", "one header", "address", "trailers", "chunk extension"])
async def test_a_head_without_end_is_refused(begin: bytes, piece: bytes) -> None:
    async with connected() as line:
        await line.send(begin)
        await refused(line, piece)


async def test_the_head_of_an_answer_comes_with_its_body_in_one_packet() -> None:
    async with connected() as line:
        await line.send(POST + b"Content-Length: 2\r\n\r\nok")
        whole = await line.reader.read(65536)  # what came first
        assert whole.endswith(b"\r\n\r\n/echo 2")


async def test_the_head_of_a_stream_does_not_wait_for_its_body() -> None:
    go_on = asyncio.Event()

    async def stream(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with connected(stream) as line:
        await line.send(POST + b"Content-Length: 0\r\n\r\n")
        assert b"200 OK" in await line.reader.readuntil(b"\r\n\r\n")
        go_on.set()
        assert await line.reader.readuntil(b"0\r\n\r\n") == b"5\r\nfirst\r\n0\r\n\r\n"


async def test_an_answer_without_a_body_is_sent_and_the_next_one_too() -> None:
    async def nothing(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async with connected(nothing) as line:
        await line.send(b"GET / HTTP/1.1\r\n\r\nHEAD / HTTP/1.1\r\n\r\n")
        for _ in range(2):
            assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 No Content")


async def test_a_client_may_wait_for_the_word_to_go_on() -> None:
    async with connected() as line:
        await line.send(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await line.send(b"ok")
        assert await line.answer() == (200, b"/echo 2")


async def test_rubbish_is_refused_in_one_line() -> None:
    async with connected() as line:
        await line.send(b"\x16\x03\x01 not http\r\n\r\n")
        assert await line.answer() == (400, b"Invalid HTTP request received.")
        assert await line.reader.read() == b""


async def test_an_upgrade_that_nobody_here_speaks_is_answered_as_a_plain_request() -> None:
    """As Java's client asks for HTTP/2 on its first request."""
    ask = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAE\r\n"
    async with connected() as line:
        await line.send(POST + ask + b"Content-Length: 4\r\n\r\nbody")
        assert await line.answer() == (200, b"/echo 4")
        await line.send(POST + b"Content-Length: 6\r\n\r\nsecond")
        assert await line.answer() == (200, b"/echo 6")


async def test_such_upgrades_may_come_in_pieces_and_one_behind_another() -> None:
    whole = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody"
    async with connected() as line:
        for start in range(0, 2 * len(whole), 7):
            await line.send((whole + whole)[start:start + 7])
            await asyncio.sleep(0)
        assert [await line.answer() for _ in range(2)] == [(200, b"/echo 4")] * 2
        await line.send(whole + whole + whole)
        assert [await line.answer() for _ in range(3)] == [(200, b"/echo 4")] * 3


async def test_we_are_no_proxy() -> None:
    async with connected() as line:
        await line.send(b"CONNECT there:443 HTTP/1.1\r\nHost: there:443\r\n\r\n")
        assert await line.answer() == (400, b"Invalid HTTP request received.")


@pytest.mark.parametrize("head", [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"Content-Length: -1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
], ids=["both", "two lengths", "negative", "no number"])
async def test_a_length_that_two_readers_could_read_differently_is_refused(head: bytes) -> None:
    async with connected() as line:
        await line.send(POST + head)
        status, _ = await line.answer()
        assert status == 400
