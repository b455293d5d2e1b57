"""What a reader is given: a file's bytes, its name, and what is wanted beside its text."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ullage.errors import DocumentRefused
from ullage.ingest.document import Page

LONGEST_TEXT_BYTES = 64 << 20
"""Of a format that is read into memory as a whole."""


@dataclass(slots=True)
class Wish:
    """`look`: a vision service will read pictures, so they are handed on. `thumbnail_pixels`: 0 for none."""

    look: bool = False
    thumbnail_pixels: int = 0


@dataclass(slots=True)
class Source:
    """A file, or (`content`) a part of one that was never a file. Nothing is ever written or unpacked to disk.

    The reader sets `total` once it knows how many pages there are, and adds to `warnings` what it could not read.
    """

    name: str
    path: Path | None = None
    content: bytes | None = None
    wish: Wish = field(default_factory=Wish)
    depth: int = 0
    total: int = 1
    warnings: list[str] = field(default_factory=list)

    def open(self) -> IO[bytes]:
        if self.content is not None:
            return io.BytesIO(self.content)
        assert self.path is not None
        return self.path.open("rb")

    def size_bytes(self) -> int:
        if self.content is not None:
            return len(self.content)
        assert self.path is not None
        return self.path.stat().st_size

    def read(self) -> bytes:
        """All of it. Raises DocumentRefused for more than a text may have."""
        if self.size_bytes() > LONGEST_TEXT_BYTES:
            raise DocumentRefused(f"{self.name}: has {self.size_bytes()} bytes, {LONGEST_TEXT_BYTES} at most for this "
                                  "format; split it")
        with self.open() as stream:
            return stream.read()

    def head(self, size: int) -> bytes:
        with self.open() as stream:
            return stream.read(size)

    def inner(self, name: str, content: bytes) -> Source:
        """A file inside this one, with the same wishes."""
        return Source(name, content=content, wish=self.wish, depth=self.depth + 1)


Reader = Callable[[Source], Iterator[Page]]
