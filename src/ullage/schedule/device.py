"""One engine in its own threads: how much it may be given, and whether it still can do its work."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import structlog

from ullage.engines.base import Batch, Engine, Row, Usage
from ullage.errors import OutOfMemory
from ullage.schedule.cap import BatchCap
from ullage.schedule.rate import Rate
from ullage.schedule.request import Item

log = structlog.get_logger("ullage.schedule")

R = TypeVar("R")
State = Literal["fit", "unfit", "lost"]
"""`unfit` cannot take one longest row now and is tried again; `lost` was taken out."""

FIRST_PROBE_S = 1.0
LAST_PROBE_S = 30.0
SHORT_ROW_TOKENS = 8
"""Of the row that tells a broken engine from a batch that it cannot digest."""


@dataclass(frozen=True, slots=True)
class Computed:
    """`values` has one reduced result, the caller's own fault or `NOT_COMPUTED` for each item; `rows` and `tokens` were
    computed in so many `seconds`."""

    values: list[Any]
    rows: int
    tokens: int
    seconds: float


NOT_COMPUTED = object()
"""The value of an item for which nobody waited any more when its batch began."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a reduction raised: one caller's, not the batch's."""

    error: Exception


class Device:
    """`name` says which one it is in logs. All calls of the engine come from its own threads: one, or as many as an
    engine says it takes batches `at_once`."""

    def __init__(self, engine: Engine, name: str, *, max_batch_tokens: int, max_row_tokens: int) -> None:
        self.engine = engine
        self.name = name
        self.cap = BatchCap(max_batch_tokens, floor=max_row_tokens)
        self.rate = Rate()
        self.state: State = "fit"
        self.reason = ""
        self.last_usage: Usage | None = None
        self.running_tokens = 0
        self.longest = max_row_tokens
        self._probe_wait_s = FIRST_PROBE_S
        self._probe_at = 0.0
        self._threads = ThreadPoolExecutor(getattr(engine, "at_once", 1), thread_name_prefix=f"engine-{name}")
        self._ending = threading.Lock()
        self._ended_s = 0.0

    def turn_tokens(self, turn_s: float | None) -> int:
        """Tokens that take about `turn_s` at the measured rate; the cap when nothing was measured or asked for."""
        rate = self.rate.tokens_per_s
        if turn_s is None or rate is None:
            return self.cap.tokens
        return max(1, min(self.cap.tokens, int(rate * turn_s)))

    def known_rate(self) -> float | None:
        """Measured tokens per second; None until as many tokens as the largest batch has were seen: a few take hardly
        less time than many, and tell too little."""
        return self.rate.tokens_per_s if self.rate.seen_tokens >= self.cap.planned else None

    async def load(self) -> None:
        await self._call(self.engine.load)

    async def close(self) -> None:
        try:
            await self._call(self.engine.close)
        except Exception as error:  # the others must be closed too; the process is about to end
            log.warning("an engine did not close", device=self.name, reason=str(error))
        self._threads.shutdown(wait=True)

    async def release(self) -> None:
        try:
            await self._call(self.engine.release)
        except Exception as error:  # the rows are tried again all the same
            log.warning("an engine gave no memory back", device=self.name, reason=str(error))

    async def usage(self) -> Usage | None:
        """What the engine holds, asked in a thread of its own; kept in `last_usage`."""
        self.last_usage = await self._call(self.engine.usage)
        return self.last_usage

    async def compute(self, items: Sequence[Item]) -> Computed:
        """Run one batch and reduce its rows. Raises what the engine raises.

        A batch may wait here behind another: rows that nobody waits for when it begins are left out.
        """
        return await self._call(lambda: self._compute(items))

    def _compute(self, items: Sequence[Item]) -> Computed:
        waited = {place: list(item.waiters) for place, item in enumerate(items) if item.waiters}
        values: list[Any] = [NOT_COMPUTED] * len(items)
        if not waited:
            return Computed(values, 0, 0, 0.0)
        begun = time.perf_counter()
        for waiters in waited.values():
            for request, _ in waiters:
                request.begin()
        try:
            batch = Batch.lay([items[place].row for place in waited])
            output = self.engine.run(batch)
            for position, (place, waiters) in enumerate(waited.items()):
                request, index = waiters[0]
                vectors = None if output.tokens is None else output.tokens[batch.row(position)]
                try:
                    values[place] = request.reduce(index, output.rows[position], vectors)
                except Exception as error:  # one caller's fault must not fail the others of its batch
                    values[place] = Fault(error)
        finally:
            for waiters in waited.values():
                for request, _ in waiters:
                    request.end()
        return Computed(values, batch.rows, batch.tokens, self._spent_s(begun))

    def _spent_s(self, begun: float) -> float:
        """Seconds since a batch begun, without those in which the engine still had the one before."""
        with self._ending:
            begun, self._ended_s = max(begun, self._ended_s), time.perf_counter()
            return self._ended_s - begun

    def lose(self, reason: str) -> None:
        self.state, self.reason = "lost", reason

    def unfit(self, reason: str, now: float) -> None:
        """Try again after a while, and each time after twice as long."""
        if self.state == "fit":
            self._probe_wait_s = FIRST_PROBE_S
        self.state, self.reason = "unfit", reason
        self._probe_at = now + self._probe_wait_s
        self._probe_wait_s = min(LAST_PROBE_S, self._probe_wait_s * 2)

    def fit(self) -> None:
        self.state, self.reason = "fit", ""

    def probe_in_s(self, now: float) -> float | None:
        """Seconds until the next probe is due; None when none is."""
        return max(0.0, self._probe_at - now) if self.state == "unfit" else None

    async def probe(self) -> OutOfMemory | None:
        """Run one longest row. None when it fits. Raises what else the engine raises."""
        try:
            await self._call(lambda: self.engine.run(_row_of(self.longest)))
        except OutOfMemory as error:
            await self.release()
            return error
        return None

    async def works(self) -> bool:
        """Whether the engine still computes at all."""
        try:
            await self._call(lambda: self.engine.run(_row_of(min(SHORT_ROW_TOKENS, self.longest))))
        except OutOfMemory:
            return True
        except Exception:  # whatever it raises, the answer is no; the first error was told to the callers
            return False
        return True

    async def _call(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)


def _row_of(tokens: int) -> Batch:
    """One row of the id 0, which every vocabulary has."""
    return Batch.lay([Row(np.zeros(tokens, np.int32))])
