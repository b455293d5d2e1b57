"""Run an app on a port until SIGTERM, draining what was accepted; or until another process takes the port over."""

from __future__ import annotations

import asyncio
import functools
import signal
import socket
import time
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from ullage.errors import SettingsError
from ullage.http.app import DRAIN_S
from ullage.http.door import Door, hang
from ullage.http.protocol import BoundedHttp
from ullage.http.tls import Tls

BACKLOG = 2048
HAND_OVER = signal.SIGUSR1
"""Another process serves the port now: tell every caller to come on a new connection, then end as after SIGTERM."""

SAFE_HEADERS = (("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"))
"""Of every answer, written by the server itself: no middleware has to touch it."""

ONLY_TLS = ("Strict-Transport-Security", "max-age=31536000")

LINGER_S = 7.0
"""How long callers on open connections are answered after HAND_OVER. An idle connection is closed after 5 s anyway."""


def claim_port(host: str, port: int) -> socket.socket:
    """Listen before anything is loaded, so that of two starts at once one is refused.

    Raises SettingsError when the port is taken or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its protocol number asyncio knows that it may send small answers at once; else each waits 40 ms for the client.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; stop what holds it or choose another port"
        ) from None
    listener.set_inheritable(False)
    return listener


class _Server(uvicorn.Server):
    """`back` is answered at once and in plain HTTP; with `standby` the other sockets are, once the app is ready."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, back: socket.socket | None, *, standby: bool) -> None:
        super().__init__(config)
        self._app = app
        self._back = back
        self._standby = standby
        self._later: list[socket.socket] = []
        self._leaving = False

    def hand_over(self, *_: object) -> None:
        self._leaving = self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._standby:
            self._later, sockets = list(sockets or []), []
        await super().startup(sockets)
        if self._back is not None:
            await self._open(self._back, tls=False)

    async def on_tick(self, counter: int) -> bool:
        if self._later and self._app.state.health.ready:
            opening, self._later = self._later, []
            for listener in opening:
                await self._open(listener, tls=True)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._leaving:
            await self._linger()
        await super().shutdown(sockets)

    async def _open(self, listener: socket.socket, *, tls: bool) -> None:
        protocol = functools.partial(self.config.http_protocol_class, config=self.config,  # type: ignore[call-arg]
                                     server_state=self.server_state, app_state=self.lifespan.state)
        self.servers.append(await asyncio.get_running_loop().create_server(
            protocol, sock=listener, ssl=self.config.ssl if tls else None, backlog=BACKLOG))

    async def _linger(self) -> None:
        """A connection that is closed while its next request is on the way loses it, so its client closes it."""
        for server in self.servers:
            server.close()
        self.server_state.default_headers.append((b"connection", b"close"))  # of answers under way too
        deadline = time.monotonic() + LINGER_S
        while self.server_state.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - uvicorn's own set
            await asyncio.sleep(0.05)


def run_server(
    app: FastAPI, listener: socket.socket, *, drain_s: float = DRAIN_S, door: Door | None = None,
    more: Sequence[socket.socket] = (), back: socket.socket | None = None, standby: bool = False,
    headers: Sequence[tuple[str, str]] = SAFE_HEADERS, websockets: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; in-flight requests get `drain_s` seconds. Raises what ended the start.

    `door` brings TLS and keys to an app that was built without one. The app answers at the ports of `more` too. `back`
    and `standby` are those of `http.handed`. `headers` are added to every answer.
    The library of `websockets` is loaded for an app that has any.
    """
    hang(app, door or Door())
    app.state.drain_s = drain_s
    tls: Tls | None = app.state.door.tls
    pair = {} if tls is None else {"ssl_certfile": str(tls.cert), "ssl_keyfile": str(tls.key)}
    always = [*headers, *((ONLY_TLS,) if tls is not None else ())]
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", server_header=False, headers=always,
                            ws="auto" if websockets else "none",
                            loop="asyncio", http=BoundedHttp,  # as measured: uvloop gains nothing
                            timeout_graceful_shutdown=int(drain_s), **pair)  # type: ignore[arg-type]
    server = _Server(config, app, back, standby=standby)
    signal.signal(HAND_OVER, server.hand_over)

    def give_up() -> None:
        server.should_exit = True

    app.state.on_failure = give_up
    sockets = [listener, *more]
    try:
        server.run(sockets=sockets)
    finally:
        for opened in (*sockets, *((back,) if back is not None else ())):
            opened.close()
    if app.state.failure is not None:
        raise app.state.failure
