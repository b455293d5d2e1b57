"""The supervisor of a running stack, over its control socket: what runs, restart one service, stop all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ullage.errors import DependencyDown, InvalidRequest, NotFound, Unavailable

LONGEST_ADDRESS = 107
"""Bytes of a unix socket's address on Linux, without the final zero."""

STATUS_S = 15.0
RESTART_S = 600.0
"""The new process loads its model first, and the old one finishes what it had accepted."""


def control_socket(state_dir: Path) -> Path:
    return state_dir / "control.sock"


@contextmanager
def address(socket: Path) -> Iterator[str]:
    """`socket` as bind and connect take it: a path too long for the kernel is named by its open folder."""
    if len(os.fsencode(socket)) <= LONGEST_ADDRESS:
        yield str(socket)
        return
    folder = os.open(socket.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{socket.name}"
    finally:
        os.close(folder)


class StackClient:
    """`socket` is `control.sock` in the stack's state_dir. Only the user who started the stack may connect.

    Raises DependencyDown when no supervisor answers there, NotFound for a service that it does not run, InvalidRequest
    or Unavailable with its reason when it refuses.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def status(self) -> dict[str, Any]:
        """Services, plan, devices and settings as `docs/operations.md` describes them."""
        return await self._ask("GET", "/v1/status", STATUS_S)

    async def restart(self, service: str, *, wait: bool = True) -> dict[str, Any]:
        """Replace a service's process without losing a request. Without `wait` it returns once that has begun."""
        path = f"/v1/services/{service}/restart"
        return await self._ask("POST", path if wait else f"{path}?wait=false", RESTART_S)

    async def stop(self) -> dict[str, Any]:
        """Stop the whole stack; returns at once."""
        return await self._ask("POST", "/v1/stop", STATUS_S)

    async def _ask(self, method: str, path: str, timeout_s: float) -> dict[str, Any]:
        try:
            with address(self._socket) as uds:
                transport = httpx.AsyncHTTPTransport(uds=uds, verify=False)
                async with httpx.AsyncClient(transport=transport, base_url="http://stack", timeout=timeout_s) as http:
                    answer = await http.request(method, path)
        except (httpx.TransportError, OSError) as error:
            raise DependencyDown(f"no stack answers at {self._socket} ({str(error) or type(error).__name__}): "
                                 "start one with `ullage up`, or name its state_dir") from None
        body: dict[str, Any] = answer.json()
        if answer.status_code >= 400:
            raise _REFUSALS.get(answer.status_code, Unavailable)(str(body["message"]))
        return body


_REFUSALS = {404: NotFound, 422: InvalidRequest}
