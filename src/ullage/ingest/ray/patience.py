"""A service that is away for a while does not end an ingestion."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ullage.errors import Unavailable
from ullage.store.database import WriterChanged

LONGEST_PAUSE_S = 5.0

T = TypeVar("T")


async def patiently(ask: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """Again and again while what it needs is unavailable. Raises Unavailable after `patience_s`, and WriterChanged at
    once: that does not pass."""
    deadline, pause_s = time.monotonic() + patience_s, 0.5
    while True:
        try:
            return await ask()
        except WriterChanged:
            raise
        except Unavailable:
            if time.monotonic() + pause_s > deadline:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, pause_s * 2)


def patiently_here(ask: Callable[[], T], patience_s: float) -> T:
    """The same for a call that blocks."""
    async def asked() -> T:
        return ask()

    return asyncio.run(patiently(asked, patience_s))
