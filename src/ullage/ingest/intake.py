"""Uploads come in so many at once: the others are not read from the wire until there is room for them."""

from __future__ import annotations

import asyncio
import resource

from starlette.formparsers import MultiPartParser
from starlette.types import ASGIApp, Receive, Scope, Send

UPLOADS_AT_ONCE = 2
SPOOL_BYTES = 64 << 10
"""Of a part that is still in memory; the rest of it is in a temporary file."""


def bound_memory_of_uploads() -> None:
    """Starlette keeps 1 MiB of each of up to 1,000 parts in memory. Each part on the disk needs an open file."""
    MultiPartParser.spool_max_size = SPOOL_BYTES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class UploadTurns:
    """ASGI middleware. Who waits holds a connection and nothing else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._slots = asyncio.Semaphore(UPLOADS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_upload(scope):
            await self._app(scope, receive, send)
            return
        turn = _Turn(self._slots)
        await turn.begin()
        try:
            scope.setdefault("state", {})["upload_read"] = turn.end
            await self._app(scope, receive, send)
        finally:
            turn.end()


class _Turn:
    """Ends once, at the latest with the request."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._held = False

    async def begin(self) -> None:
        await self._slots.acquire()
        self._held = True

    def end(self) -> None:
        if self._held:
            self._held = False
            self._slots.release()


def _is_upload(scope: Scope) -> bool:
    return bool(scope["type"] == "http" and scope["method"] in ("POST", "PATCH")
                and scope["path"].rstrip("/").endswith("/documents"))
