"""One engine in its own thread, and the pictures that wait for it: requests take turns, a picture at a time.

A request of sixty pictures does not keep one of a single picture waiting, and what a caller that went away had still
waiting is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog

from ullage.engines.base import Usage
from ullage.engines.vision.engine import Asked, Found
from ullage.errors import EngineFailed, NotReady, Overloaded, RequestError, UllageError

log = structlog.get_logger("ullage.vision")
R = TypeVar("R")


class Looker(Protocol):
    """What a VisionEngine does."""

    ooms: int
    """How often there was no room; most of these were answered all the same."""

    def load(self) -> None: ...
    def run(self, asked: Asked) -> Found: ...
    def release(self) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Counters:
    pictures: int = 0
    refused: int = 0
    abandoned: int = 0
    failures: int = 0
    compute_s: float = 0.0
    waiting: int = 0


@dataclass(slots=True)
class _Request:
    """Pictures of one caller. `found` fills in order."""

    waiting: deque[Asked]
    done: asyncio.Future[None]
    found: list[Found] = field(default_factory=list)
    compute_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Looked:
    """What was found in every picture of a request; seconds in the queue and of compute."""

    found: tuple[Found, ...]
    queue_s: float
    compute_s: float


class Pool:
    """`most_waiting` pictures wait at once; a request that would bring more is refused whole."""

    def __init__(self, engine: Looker, *, most_waiting: int) -> None:
        self._engine = engine
        self._most_waiting = most_waiting
        self._turns: deque[_Request] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="vision")
        self._arrived = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None
        self._open = False
        self._held = ""
        self._mean_s = 1.0
        self.counters = Counters()

    async def start(self) -> None:
        """Load the engine. Raises what `load` raises."""
        await self._call(self._engine.load)
        self._open = True
        self._serving = asyncio.create_task(self._serve(), name="vision pool")

    async def close(self) -> None:
        """Refuse new work, finish what was accepted, give the memory back."""
        self._open = False
        while self._serving is not None and self._turns and not self._serving.done():
            await asyncio.wait({request.done for request in self._turns}, return_when=asyncio.ALL_COMPLETED)
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
            self._serving = None
        await self._call(self._engine.close)
        self._thread.shutdown(wait=True)

    async def look(self, pictures: Sequence[Asked]) -> Looked:
        """What is in each picture, in their order.

        Raises Overloaded or NotReady before anything is done, and what the engine raises for the first picture at
        fault; the others of its request are then not looked at.
        """
        self._admit(len(pictures))
        begun = time.perf_counter()
        request = _Request(deque(pictures), asyncio.get_running_loop().create_future())
        self.counters.waiting += len(pictures)
        self._turns.append(request)
        self._arrived.set()
        try:
            await request.done
        except asyncio.CancelledError:
            self.counters.abandoned += 1
            raise
        finally:
            self.counters.waiting -= len(request.waiting)
            request.waiting.clear()
        queue_s = max(0.0, time.perf_counter() - begun - request.compute_s)
        return Looked(tuple(request.found), queue_s, request.compute_s)

    def _admit(self, count: int) -> None:
        if not self._open:
            raise NotReady("the vision service is not loaded, or is stopping", retry_after_s=2)
        waiting = self.counters.waiting
        if self._held or (waiting and waiting + count > self._most_waiting):
            self.counters.refused += 1
            wait_s = self.retry_after_s()
            why = self._held or f"{waiting} pictures wait and {count} more exceed {self._most_waiting}"
            raise Overloaded(f"{why}: retry in {wait_s} s", retry_after_s=wait_s)

    @property
    def ooms(self) -> int:
        return self._engine.ooms

    def retry_after_s(self) -> int:
        """Seconds until what waits now should be done."""
        return max(1, min(600, round(self._mean_s * (1 + self.counters.waiting))))

    async def usage(self) -> Usage | None:
        """The process has no finer figure than its resident set."""
        return None

    def lower_caps(self) -> None:
        """Pictures run alone already: what can be given back is what the arena holds free."""
        self._thread.submit(self._engine.release)

    def hold(self, reason: str) -> None:
        """Refuse new requests until `resume`; what waits goes on."""
        self._held = reason

    def resume(self) -> None:
        self._held = ""

    async def _serve(self) -> None:
        while True:
            while self._turns:
                request = self._turns[0]
                if request.done.done() or not request.waiting:
                    self._turns.popleft()
                    continue
                await self._one(request)
                if self._turns and self._turns[0] is request:
                    self._turns.rotate(-1)
            self._arrived.clear()
            await self._arrived.wait()

    async def _one(self, request: _Request) -> None:
        """Look at the next picture of a request."""
        asked = request.waiting.popleft()
        self.counters.waiting -= 1
        begun = time.perf_counter()
        place = len(request.found)
        try:
            request.found.append(await self._call(lambda: self._engine.run(asked)))
        except RequestError as error:
            self._fail(request, type(error)(f"input.{place}: {error.message}"))
        except UllageError as error:
            self._fail(request, error)
        except Exception as error:  # the caller must hear of it, whatever it is
            log.error("the vision engine failed", exc_info=error)
            self._fail(request, EngineFailed(f"input.{place}: {type(error).__name__} while looking at the picture"))
        finally:
            seconds = time.perf_counter() - begun
            self.counters.compute_s += seconds
            request.compute_s += seconds
            self._mean_s = 0.8 * self._mean_s + 0.2 * seconds
        self.counters.pictures += 1
        if not request.waiting and not request.done.done():
            request.done.set_result(None)

    def _fail(self, request: _Request, error: UllageError) -> None:
        self.counters.failures += 1
        self.counters.waiting -= len(request.waiting)
        request.waiting.clear()
        if not request.done.done():
            request.done.set_exception(error)

    async def _call(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)
