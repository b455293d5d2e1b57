"""Run an app on a port until SIGTERM, draining what was accepted."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from ullage.errors import SettingsError
from ullage.http.door import Door, hang
from ullage.http.tls import Tls

BACKLOG = 2048


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


def run_server(
    app: FastAPI, listener: socket.socket, *, drain_s: float = 30.0, door: Door | None = None,
    more: Sequence[socket.socket] = (),
) -> None:
    """Serve until SIGTERM or SIGINT; in-flight requests get `drain_s` seconds. Raises what ended the start.

    `door` brings TLS and keys to an app that was built without one. The app answers at the ports of `more` too.
    """
    hang(app, door or Door())
    tls: Tls | None = app.state.door.tls
    pair = {} if tls is None else {"ssl_certfile": str(tls.cert), "ssl_keyfile": str(tls.key)}
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", server_header=False,
                            timeout_graceful_shutdown=int(drain_s), **pair)  # type: ignore[arg-type]
    server = uvicorn.Server(config)

    def give_up() -> None:
        server.should_exit = True

    app.state.on_failure = give_up
    try:
        server.run(sockets=[listener, *more])
    finally:
        for opened in (listener, *more):
            opened.close()
    if app.state.failure is not None:
        raise app.state.failure
