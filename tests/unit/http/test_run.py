"""The listener that every server gets."""

from __future__ import annotations

import asyncio
import socket

from ullage.http.run import claim_port


async def test_an_accepted_connection_sends_small_answers_at_once() -> None:
    """With Nagle's algorithm an answer of two parts waits for the client's delayed acknowledgement: 40 ms a request."""
    options: list[int] = []

    async def served(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted = writer.get_extra_info("socket")
        options.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = claim_port("127.0.0.1", 0)
    server = await asyncio.start_server(served, sock=listener)
    async with server:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert options
    assert options[0] != 0
