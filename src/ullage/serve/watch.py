"""Hold a process to its planned resident memory: look every second, and act when it is over.

The bounds that keep it inside are others: the engine's arena, the tokens of a batch, the bytes of bodies let in. This
is for what they do not see, such as heap that an allocator keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from ullage.http.memory import Memory

log = structlog.get_logger("ullage.memory")

EVERY_S = 1.0
TRIM_STEP_BYTES = 4 << 20
"""Growth over the plan that is worth another trim; one takes a few milliseconds."""


class Bounded(Protocol):
    """What holds the work: a scheduler, or the pool of the vision service."""

    async def usage(self) -> object: ...
    def lower_caps(self) -> None: ...
    def hold(self, reason: str) -> None: ...
    def resume(self) -> None: ...


class ResidentWatch:
    """Trims the heap over the plan; over the ceiling also makes batches smaller and holds new requests back.

    A process that is over although nothing is in flight is over for another reason: one request at a time still gets
    in, so that a wrong figure slows a service down and never ends it.
    """

    def __init__(self, memory: Memory, scheduler: Bounded, *, trim: Callable[[], None]) -> None:
        self._memory = memory
        self._scheduler = scheduler
        self._trim = trim
        self._trimmed_at = 0
        self.over_ceiling = 0
        self.trims = 0
        self.holds = 0
        self.holding = False

    async def run(self) -> None:
        """Look every second; ask the engines too, which answer between two batches."""
        await asyncio.gather(self._look_on(), self._ask_on())

    async def _look_on(self) -> None:
        while self._memory.watched:
            await asyncio.sleep(EVERY_S)
            await self.look()

    async def _ask_on(self) -> None:
        while True:
            await self._scheduler.usage()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Measure once, and do what the measurement asks for."""
        memory = self._memory
        now = memory.resident_bytes()
        if now > memory.planned_bytes + memory.elsewhere_bytes and now > self._trimmed_at + TRIM_STEP_BYTES:
            self.trims += 1
            await asyncio.to_thread(self._trim)
            now = self._trimmed_at = memory.resident_bytes()
        if now > memory.ceiling_bytes:
            self._hold(now)
        elif self.holding:
            self._resume(now)

    def _hold(self, now: int) -> None:
        if self.holding:
            return
        self.holding = True
        self.over_ceiling += 1
        self.holds += 1
        reason = f"{now} bytes are resident, the ceiling is {self._memory.ceiling_bytes}"
        log.warning("over the memory plan", reason=reason, planned_bytes=self._memory.planned_bytes)
        self._scheduler.lower_caps()
        self._scheduler.hold(reason)
        if self._memory.gate is not None:
            self._memory.gate.closed = reason

    def _resume(self, now: int) -> None:
        self.holding = False
        self._trimmed_at = 0
        log.info("inside the memory plan again", resident_bytes=now)
        self._scheduler.resume()
        if self._memory.gate is not None:
            self._memory.gate.closed = ""
