"""A small HTTP server inside a program that does something else: no signals, no log, no lifespan."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

import uvicorn
from starlette.types import ASGIApp

from ullage.http.tls import Tls

LAST_ANSWERS_S = 2
"""Seconds that answers under way get when the server is closed."""


class _Aside(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they belong to the program around us


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listeners: Sequence[socket.socket], tls: Tls | None = None) -> AsyncIterator[None]:
    """`app` answers at `listeners` inside the block; the caller's sockets stay open."""
    pair = {} if tls is None else {"ssl_certfile": str(tls.cert), "ssl_keyfile": str(tls.key)}
    config = uvicorn.Config(app, log_config=None, log_level="warning", access_log=False, lifespan="off",
                            server_header=False, http="h11", ws="none",
                            timeout_graceful_shutdown=LAST_ANSWERS_S, **pair)  # type: ignore[arg-type]
    server = _Aside(config)
    running = asyncio.create_task(server.serve([listener.dup() for listener in listeners]))
    try:
        yield
    finally:
        server.should_exit = True
        await running
