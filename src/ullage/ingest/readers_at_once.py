"""Readers' processes cost memory, so only so many run beside each other however many files are in work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from ullage.errors import DocumentRefused
from ullage.ingest.document import Page, Rendering
from ullage.ingest.readers.source import Wish
from ullage.ingest.sandbox import Reading, ReadLimits, Sandbox

READERS_AT_ONCE = 2
_KILLED = "was ended by SIGKILL"


class ReaderKilled(DocumentRefused):
    """A reader that somebody killed: perhaps the kernel for its memory, perhaps an operator. The file may be fine."""


class BoundedSandbox(Sandbox):
    """A file waits for a reader; its own reading time counts from then on."""

    def __init__(self, limits: ReadLimits) -> None:
        super().__init__(limits)
        self._slots = asyncio.Semaphore(READERS_AT_ONCE)
        self._shows = asyncio.Semaphore(1)

    async def render(self, path: Path, name: str, number: int, pixels: int) -> Rendering:
        """One page at a time, beside the readers: who looks at a page does not wait for a long file."""
        async with self._shows:
            return await super().render(path, name, number, pixels)

    async def pages(self, path: Path, reading: Reading, wish: Wish) -> AsyncGenerator[Page, None]:
        async with self._slots, aclosing(super().pages(path, reading, wish)) as pages:
            try:
                async for page in pages:
                    yield page
            except DocumentRefused as refusal:
                if _KILLED in refusal.message:
                    raise ReaderKilled(refusal.message) from None
                raise
