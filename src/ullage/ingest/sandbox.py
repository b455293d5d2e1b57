"""Files are read in processes of their own, which can be killed: bounded time and memory a file, no network.

A file that takes too long, wants too much or kills its reader is refused by name; the next one gets a fresh process.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from ullage.errors import DocumentRefused, NotFound
from ullage.ingest.document import Document, Page, Rendering
from ullage.ingest.readers.source import Wish
from ullage.ingest.sandbox_wire import (
    HEAD,
    BrokenFrame,
    Frame,
    frame_of,
    page_of_frame,
    rendering_of_frame,
    sizes,
)

log = structlog.get_logger("ullage.ingest")

MIB = 1 << 20
FILES_PER_PROCESS = 200
"""Then a fresh one: libraries leak, and heaps break up."""

LARGEST_IDLE_BYTES = 48 * MIB
"""A process whose resident set was ever larger is not kept for the next file: those kept are in the plan. Text, Office
and short PDF files stay below (26 to 47 MiB); a fresh one costs 0.3 s, which a long or scanned PDF does not notice."""

MOST_FRAMES = 50_000
"""Pages and parts of pages of one file."""

SECONDS_PER_PAGE = 1.0
"""What each delivered page adds to a file's time."""

LEAST_MEMORY_BYTES = 256 * MIB
STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """Of one file. `memory_bytes` is address space: the resident set is smaller.

    `timeout_s` is the reader's own time up to the first page, or without a page; what the ingestor does meanwhile with
    the pages it has does not count.
    """

    memory_bytes: int = 512 * MIB
    timeout_s: float = 60.0
    upload_bytes: int = 400 * MIB


@dataclass(slots=True)
class Reading:
    """One file while it is read. `total` and `warnings` are complete once all pages are there."""

    name: str
    total: int = 1
    warnings: list[str] = field(default_factory=list)
    spent_s: float = 0.0
    peak_bytes: int = 0


class Sandbox:
    """Several files may be read at once, each in its own process; idle ones are kept. Close it at the end."""

    def __init__(self, limits: ReadLimits) -> None:
        self.limits = limits
        self._idle: list[_Process] = []
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        idle, self._idle = self._idle, []
        for process in idle:
            await process.kill()

    async def document(self, path: Path, name: str, wish: Wish | None = None) -> Document:
        """All of a file at once."""
        reading = Reading(name)
        async with aclosing(self.pages(path, reading, wish or Wish())) as pages:
            found = tuple([page async for page in pages])
        return Document(name, found, tuple(reading.warnings))

    async def pages(self, path: Path, reading: Reading, wish: Wish) -> AsyncGenerator[Page, None]:
        """Pages as they are read. Leaving early kills the process. Raises DocumentRefused."""
        process = self._idle.pop() if self._idle else await _Process.start(self.limits.memory_bytes)
        done = False
        try:
            await process.begin(path, reading.name, self.limits, wish)
            allowed_s = self.limits.timeout_s
            for _ in range(MOST_FRAMES):
                frame = await self._next(process, reading, allowed_s)
                if frame.said.get("kind") == "page":
                    page, reading.total = page_of_frame(frame)
                    allowed_s += SECONDS_PER_PAGE
                    yield page
                    continue
                done = True
                _end(frame, reading, self.limits)
                return
            raise DocumentRefused(f"{reading.name}: has more than {MOST_FRAMES} pages or parts; split it")
        except BrokenFrame as error:
            done = False
            raise DocumentRefused(f"{reading.name}: its reader answered with {error}; convert it to another format"
                                  ) from None
        finally:
            await self._give_back(process, fit=done and reading.peak_bytes < LARGEST_IDLE_BYTES)

    async def render(self, path: Path, name: str, number: int, pixels: int) -> Rendering:
        """How a page looks, its longer side of about `pixels`. Raises DocumentRefused, NotFound."""
        process = self._idle.pop() if self._idle else await _Process.start(self.limits.memory_bytes)
        reading, done = Reading(name), False
        try:
            await process.begin(path, name, self.limits, Wish(), render=(number, pixels))
            found: Rendering | None = None
            frame = await self._next(process, reading, self.limits.timeout_s)
            if frame.said.get("kind") == "rendering":
                found = rendering_of_frame(frame)
                frame = await self._next(process, reading, self.limits.timeout_s)
            done = True
            _end(frame, reading, self.limits)
            if found is None:
                raise BrokenFrame("no rendering")
            return found
        except BrokenFrame as error:
            done = False
            raise DocumentRefused(f"{name}: its reader answered with {error}; convert it to another format") from None
        finally:
            await self._give_back(process, fit=done and reading.peak_bytes < LARGEST_IDLE_BYTES)

    async def _next(self, process: _Process, reading: Reading, allowed_s: float) -> Frame:
        begun = time.monotonic()
        try:
            async with asyncio.timeout(max(0.0, allowed_s - reading.spent_s)):
                return await process.frame()
        except TimeoutError:
            raise DocumentRefused(f"{reading.name}: its reader took more than {allowed_s:g} s (reader_timeout_s); "
                                  "split it or convert it to another format") from None
        except asyncio.IncompleteReadError:
            raise DocumentRefused(await _death(process, reading.name, self.limits)) from None
        finally:
            reading.spent_s += time.monotonic() - begun

    async def _give_back(self, process: _Process, *, fit: bool) -> None:
        if fit and not self._closed and process.files < FILES_PER_PROCESS:
            self._idle.append(process)
        else:
            await asyncio.shield(process.kill())


def _end(frame: Frame, reading: Reading, limits: ReadLimits) -> None:
    said = frame.said
    reading.peak_bytes = int(said.get("peak_bytes", limits.memory_bytes))
    if said.get("kind") == "memory":
        raise DocumentRefused(_too_much(reading.name, limits))
    if said.get("kind") == "refused":
        raise DocumentRefused(str(said.get("message")))
    if said.get("kind") == "missing":
        raise NotFound(str(said.get("message")))
    if said.get("kind") != "end":
        raise BrokenFrame(f"a frame of kind {str(said.get('kind'))[:20]!r}")
    reading.warnings += map(str, said.get("warnings", ()))


def _too_much(name: str, limits: ReadLimits) -> str:
    return (f"{name}: its reader wanted more than {limits.memory_bytes // MIB} MiB of memory (reader_memory); split it "
            "or convert it to another format")


async def _death(process: _Process, name: str, limits: ReadLimits) -> str:
    """A process without memory left may die before it can say so."""
    code = await process.ended()
    if code in (-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGKILL, -signal.SIGILL, -signal.SIGTRAP):
        return (f"{name}: its reader was ended by {signal.Signals(-code).name} (more than {limits.memory_bytes // MIB} "
                "MiB of memory, or a fault of the file); convert it to another format")
    return f"{name}: its reader ended with status {code}; convert it to another format"


class _Process:
    """One reader's process and its two pipes."""

    def __init__(self, inner: asyncio.subprocess.Process, memory_bytes: int) -> None:
        self._inner = inner
        self._memory_bytes = memory_bytes
        self.files = 0

    @classmethod
    async def start(cls, memory_bytes: int) -> _Process:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "LANG": "C.UTF-8",
            # A thread's arena and a compute thread's stack are address space that no reader needs.
            "MALLOC_ARENA_MAX": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        inner = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-m",
            "ullage.ingest.sandbox_child",
            str(memory_bytes),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=None,
            env=environment,
            start_new_session=True,
        )
        return cls(inner, memory_bytes)

    @property
    def pid(self) -> int:
        return self._inner.pid

    async def begin(
        self, path: Path, name: str, limits: ReadLimits, wish: Wish, *, render: tuple[int, int] | None = None
    ) -> None:
        self.files += 1
        job: dict[str, Any] = {
            "path": str(path),
            "name": name,
            "limit_bytes": limits.upload_bytes,
            "look": wish.look,
            "thumbnail_pixels": wish.thumbnail_pixels,
            "render": render,
        }
        assert self._inner.stdin is not None
        try:
            self._inner.stdin.write(json.dumps(job).encode() + b"\n")
            await self._inner.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            log.warning("a reader's process was gone before its file came", status=self._inner.returncode)

    async def frame(self) -> Frame:
        """Raises IncompleteReadError when the process has ended."""
        assert self._inner.stdout is not None
        text, blob = sizes(await self._inner.stdout.readexactly(HEAD.size))
        return frame_of(
            await self._inner.stdout.readexactly(text), await self._inner.stdout.readexactly(blob)
        )

    async def ended(self) -> int:
        try:
            async with asyncio.timeout(STOP_S):
                return await self._inner.wait()
        except TimeoutError:
            await self.kill()
            return -signal.SIGKILL

    async def kill(self) -> None:
        if self._inner.returncode is None:
            try:
                self._inner.kill()
            except ProcessLookupError:
                log.debug("a reader's process had ended already", pid=self._inner.pid)
        await self._inner.wait()
