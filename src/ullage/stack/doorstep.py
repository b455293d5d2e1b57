"""The listening sockets of one service, open for as long as its stack runs: between two processes nobody is refused."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from ullage.http.aside import serving
from ullage.http.handed import FRONT, STANDBY
from ullage.http.keys import OPEN
from ullage.http.run import claim_port
from ullage.http.tls import Tls
from ullage.stack.services import Spec

RETRY_S = 5


@dataclass(frozen=True, slots=True)
class Doorstep:
    """A process that inherits `listeners` finds whoever called while there was none. Without any it has its own."""

    service: str
    listeners: tuple[socket.socket, ...] = ()
    tls: Tls | None = None

    @classmethod
    def of(cls, spec: Spec) -> Doorstep:
        """Raises SettingsError when a port is taken."""
        if not spec.inherits:
            return cls(spec.service)
        with contextlib.ExitStack() as opened:
            listeners = [opened.enter_context(claim_port(spec.host, port)) for port in (spec.port, *spec.more_ports)]
            opened.pop_all()
        return cls(spec.service, tuple(listeners), spec.tls)

    def handed(self, *, standby: bool) -> list[tuple[int, str]]:
        """(descriptor, name) for a process; one on standby serves them once it is ready."""
        return [(listener.fileno(), STANDBY if standby else FRONT) for listener in self.listeners]

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()

    @contextlib.asynccontextmanager
    async def answering(self, why: Callable[[], str]) -> AsyncIterator[None]:
        """Tell callers why nobody is at home; 502, so that they need not take it for a queue that is full."""
        if not self.listeners:
            yield
            return
        async with serving(_Absence(self.service, why), self.listeners, self.tls):
            yield


class _Absence:
    """Whatever is asked: the service is away, and why. Health says 503 as any service that is not ready."""

    def __init__(self, service: str, why: Callable[[], str]) -> None:
        self._service = service
        self._why = why

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        said = f"{self._service} does not run: {self._why()}"
        about_health = scope["path"] in OPEN
        body: dict[str, Any] = {
            "object": "health.response" if about_health else "error", "message": said, "status": "not_ready",
            "ready": False, "reason": self._why(), "type": "unavailable", "detail": {},
        }
        headers = {"Retry-After": str(RETRY_S), "Connection": "close"}
        await JSONResponse(body, 503 if about_health else 502, headers)(scope, receive, send)


def doorsteps(specs: Sequence[Spec]) -> dict[str, Doorstep]:
    """Every service's, all open or none. Raises SettingsError when a port is taken."""
    made: dict[str, Doorstep] = {}
    try:
        for spec in specs:
            made[spec.service] = Doorstep.of(spec)
    except BaseException:
        for doorstep in made.values():
            doorstep.close()
        raise
    return made
