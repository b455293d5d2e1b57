"""What runs batches on one engine, and what it does when that fails: free, split, shrink, try again, or say so."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from ullage.errors import EngineFailed, OutOfMemory, UllageError
from ullage.schedule.cache import ScoreCache
from ullage.schedule.counters import Counters
from ullage.schedule.device import NOT_COMPUTED, Computed, Device, Fault
from ullage.schedule.queue import FairQueue
from ullage.schedule.request import Item

log = structlog.get_logger("ullage.schedule")

TRIES = 3
"""Of one row alone: it, again after memory was released, and once more when a longest row did fit after that."""


@dataclass(frozen=True, slots=True)
class Turns:
    """How batches are cut beside their tokens: see `Scheduler`."""

    turn_s: float | None = None
    batch_wait_s: float = 0.0
    max_batch_rows: int | None = None
    ahead: int = 0


@dataclass(slots=True, eq=False)
class Work:
    """What the workers of one scheduler share. `changed` is called when an engine became fit, unfit or lost."""

    devices: list[Device]
    cache: ScoreCache
    turns: Turns
    changed: Callable[[], None]
    queue: FairQueue = field(default_factory=FairQueue)
    counters: Counters = field(default_factory=Counters)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    closing: bool = False

    def settle(self) -> None:
        """Say that there is nothing left to do, when there is not."""
        if not self.queue and not any(device.running_tokens for device in self.devices):
            self.idle.set()

    def lower(self, device: Device, tokens: int) -> None:
        if device.cap.lower(tokens):
            self.counters.cap_lowerings += 1


class Worker:
    """Serves one engine from the shared queue until it is cancelled or its engine is lost."""

    def __init__(self, work: Work, device: Device) -> None:
        self._work = work
        self._device = device
        self._counters = work.counters
        self._queue = work.queue
        self._under_way: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        try:
            await self._serve()
            await self._room(0)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _serve(self) -> None:
        device = self._device
        while device.state != "lost":
            if device.probe_in_s(time.monotonic()) == 0.0:
                await self._probe()
            items = [] if self._spared() else await self._next()
            if items:
                task = asyncio.create_task(self._run(items))
                self._under_way.add(task)
                await self._room(self._work.turns.ahead)
                # Who just heard a result and asks for more in the same breath is in the next batch, not the one after.
                await asyncio.sleep(0)
                continue
            self._work.arrived.clear()
            await self._arrival(device.probe_in_s(time.monotonic()))

    async def _room(self, most: int) -> None:
        """Until at most so many batches are under way; what one of them raised is raised here."""
        while len(self._under_way) > most:
            done, self._under_way = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    def _spared(self) -> bool:
        """An engine without room for a longest row gets none as long as another can take them."""
        return self._device.state == "unfit" and self._another_fit()

    def _another_fit(self) -> bool:
        return any(other.state == "fit" for other in self._work.devices if other is not self._device)

    async def _next(self) -> list[Item]:
        turns, device = self._work.turns, self._device
        if turns.batch_wait_s:
            await self._fill(turns)
        turn_tokens = device.turn_tokens(turns.turn_s)
        return self._queue.take(device.cap.tokens, turn_tokens, turns.max_batch_rows, time.monotonic())

    async def _fill(self, turns: Turns) -> None:
        """Wait a little for a batch that is not full."""
        until = time.monotonic() + turns.batch_wait_s
        wanted = self._device.turn_tokens(turns.turn_s)
        while 0 < self._queue.waiting_tokens(wanted) < wanted and not self._work.closing:
            left = until - time.monotonic()
            if left <= 0:
                return
            self._work.arrived.clear()
            await self._arrival(left)

    async def _arrival(self, seconds: float | None) -> None:
        """Until something arrives, or that long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._work.arrived.wait()

    async def _run(self, items: list[Item]) -> None:
        device, tokens = self._device, sum(item.tokens for item in items)
        device.running_tokens += tokens
        try:
            pieces = [items]
            while pieces:
                piece = [item for item in pieces.pop() if item.waiters]
                if not piece:
                    continue
                try:
                    self._finish(piece, await device.compute(piece))
                except OutOfMemory as error:
                    pieces += await self._without_memory(piece, error)
                except Exception as error:  # every waiter must hear of it, whatever it is
                    pieces = await self._broken(piece, pieces, error)
        finally:
            device.running_tokens -= tokens
        self._work.settle()

    def _finish(self, items: list[Item], computed: Computed) -> None:
        counted = self._counters
        if computed.rows:
            counted.batches += 1
            counted.rows += computed.rows
            counted.tokens += computed.tokens
            counted.compute_s += computed.seconds
            self._device.rate.observe(computed.tokens, computed.seconds)
            counted.cap_raises += self._device.cap.clean()
        for item, value in zip(items, computed.values, strict=True):
            self._queue.settle(item)
            if isinstance(value, Fault):
                _fail(item, value.error)
                continue
            if value is NOT_COMPUTED:
                continue
            if item.key is not None:
                self._work.cache.put(item.key, value)
            for request, index in item.waiters:
                request.keep(index, value)

    async def _without_memory(self, items: list[Item], error: OutOfMemory) -> list[list[Item]]:
        """Free memory and give back the halves to run; a row alone is tried again here."""
        self._counters.ooms += 1
        self._work.lower(self._device, sum(item.tokens for item in items))
        await self._device.release()
        log.warning("out of memory", device=self._device.name, rows=len(items), reason=error.message,
                    batch_tokens=self._device.cap.tokens)
        if len(items) == 1:
            await self._alone(items[0], error)
            return []
        self._counters.splits += 1
        half = len(items) // 2
        return [items[half:], items[:half]]

    async def _alone(self, item: Item, error: OutOfMemory) -> None:
        """A row that did not fit alone: once more, and again as long as a longest row is seen to fit."""
        for _ in range(TRIES - 1):
            if not item.waiters:
                return
            try:
                self._finish([item], await self._device.compute([item]))
                return
            except OutOfMemory as again:
                self._counters.ooms += 1
                error = again
                await self._device.release()
            if not await self._probe():
                break
        if self._spared():
            self._give_back([item])
            return
        self._counters.failures += 1
        self._queue.settle(item)
        wait_s = max(1, math.ceil(self._device.probe_in_s(time.monotonic()) or 0.0))
        said = f"a row of {item.tokens} tokens does not fit in memory: {error.message}; retry in {wait_s} s"
        _fail(item, OutOfMemory(said, retry_after_s=wait_s))

    async def _probe(self) -> bool:
        """Whether one longest row fits; says so when that changed."""
        device = self._device
        self._counters.probes += 1
        try:
            error: UllageError | None = await device.probe()
        except Exception as raised:  # whatever it is, a longest row cannot be computed
            error = raised if isinstance(raised, UllageError) else EngineFailed(f"{type(raised).__name__}: {raised}")
        if error is None:
            if device.state == "unfit":
                log.info("one longest row fits again", device=device.name)
            device.fit()
        else:
            device.unfit(f"one row of {device.longest} tokens cannot be computed now: {error.message}",
                         time.monotonic())
            log.warning("one longest row does not fit", device=device.name, reason=error.message,
                        again_in_s=round(device.probe_in_s(time.monotonic()) or 0.0, 1))
        self._work.changed()
        return error is None

    async def _broken(self, items: list[Item], rest: list[list[Item]], error: Exception) -> list[list[Item]]:
        """The engine raised something else than OutOfMemory. Gives back what it shall still run.

        An engine that still computes a short row had a batch it could not digest, whose callers hear of it. One that
        does not is taken out, when there is another for its rows.
        """
        self._counters.failures += 1
        device = self._device
        works = await device.works()
        if device.state == "lost":  # the batch before this one found it out
            self._give_back([item for piece in (items, *rest) for item in piece if item.waiters])
            return []
        if works:
            self._fail_all(items, error)
            return rest
        log.error("the engine failed", device=device.name, reason=str(error))
        if self._another_fit():
            self._counters.devices_lost += 1
            device.lose(f"taken out: {error}")
            self._give_back([item for piece in (items, *rest) for item in piece if item.waiters])
            rest = []
        else:
            self._fail_all(items, error)
            device.unfit(f"the engine failed: {error}", time.monotonic())
        self._work.changed()
        return rest

    def _give_back(self, items: list[Item]) -> None:
        self._queue.give_back(items)
        self._work.arrived.set()

    def _fail_all(self, items: list[Item], error: Exception) -> None:
        for item in items:
            self._queue.settle(item)
            _fail(item, error)


def _fail(item: Item, error: Exception) -> None:
    for request, _ in item.waiters:
        request.fail(error)
