"""What tests of the scheduler share: rows that can be told apart, and an engine that waits to be let go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from ullage.engines.base import Batch, Engine, Float32, Row
from ullage.engines.dummy import DummyEngine
from ullage.schedule import Scheduler


def rows(*lengths: int, first_id: int = 0) -> list[Row]:
    """Rows whose ids differ from row to row, so that a swapped result shows."""
    return [Row(np.full(n, first_id + i, np.int32)) for i, n in enumerate(lengths)]


def keep(index: int, row: Float32, _: Float32 | None) -> tuple[int, tuple[float, ...]]:
    return index, tuple(float(x) for x in row)


def alone(row: Row) -> tuple[float, ...]:
    return tuple(float(x) for x in DummyEngine().run(Batch.lay([row])).rows[0])


class Gate:
    """Holds every batch of an engine until it is opened, and says when one has arrived."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _: Batch) -> None:
        self.arrived.set()
        assert self.opened.wait(30), "the test never opened the gate"

    async def until_arrived(self) -> None:
        assert await asyncio.to_thread(self.arrived.wait, 30)


@asynccontextmanager
async def scheduling(engine: Engine | Sequence[Engine], **limits: Any) -> AsyncIterator[Scheduler]:
    scheduler = Scheduler(engine, **({"max_batch_tokens": 64} | limits))
    await scheduler.start()
    try:
        yield scheduler
    finally:
        await scheduler.close()


async def settled() -> None:
    """Let everything that is ready to run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def behind_gate(gate: Gate, scheduler: Scheduler, calls: Sequence[list[Row]]) -> list[asyncio.Task[list[object]]]:
    """Submit a one-token call that closes the way, then `calls`; nothing of them runs until the gate opens."""
    first = asyncio.create_task(scheduler.submit(rows(1), keep))
    await gate.until_arrived()
    tasks = [asyncio.create_task(scheduler.submit(call, keep)) for call in calls]
    await settled()
    return [first, *tasks]
