"""What is done when resident memory is over the plan, and that it is undone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from scheduling import scheduling
from ullage.engines.dummy import DummyEngine
from ullage.http.gate import ByteGate
from ullage.http.memory import Memory
from ullage.schedule import Scheduler
from ullage.serve.watch import TRIM_STEP_BYTES, ResidentWatch

MIB = 1 << 20


class Process:
    """Resident memory that a trim brings down to `floor`."""

    def __init__(self) -> None:
        self.resident = 100 * MIB
        self.floor = 0
        self.trims = 0

    def read(self) -> int:
        return self.resident

    def trim(self) -> None:
        self.trims += 1
        self.resident = min(self.resident, max(self.floor, 0))


@asynccontextmanager
async def watching() -> AsyncIterator[tuple[Process, Memory, Scheduler, ResidentWatch]]:
    process = Process()
    memory = Memory("p", {"fixed": 200 * MIB}, allowance_bytes=10 * MIB, gate=ByteGate(100, 100), read=process.read)
    async with scheduling(DummyEngine(), max_batch_tokens=64, max_row_tokens=8) as scheduler:
        yield process, memory, scheduler, ResidentWatch(memory, scheduler, trim=process.trim)


async def test_inside_the_plan_nothing_is_done():
    async with watching() as (process, memory, scheduler, watch):
        await watch.look()
        assert (process.trims, watch.over_ceiling, scheduler.batch_tokens_cap) == (0, 0, 64)
        assert memory.seen_bytes == 100 * MIB


async def test_over_the_plan_freed_memory_is_handed_back():
    async with watching() as (process, _, scheduler, watch):
        process.resident, process.floor = 205 * MIB, 150 * MIB
        await watch.look()
        assert (process.resident, process.trims, watch.trims, watch.holding) == (150 * MIB, 1, 1, False)
        assert scheduler.batch_tokens_cap == 64


async def test_a_trim_that_gains_nothing_is_not_repeated_every_second():
    async with watching() as (process, _, __, watch):
        process.resident = process.floor = 205 * MIB
        for _ in range(5):
            await watch.look()
        assert watch.trims == 1
        process.resident = process.floor = 205 * MIB + TRIM_STEP_BYTES + 1
        await watch.look()
        assert watch.trims == 2


@pytest.mark.parametrize("elsewhere", [0, 50 * MIB])
async def test_over_the_ceiling_batches_shrink_and_requests_are_held_back_until_it_is_under(elsewhere):
    async with watching() as (process, memory, scheduler, watch):
        memory.elsewhere_bytes = elsewhere
        process.resident = process.floor = 211 * MIB + elsewhere
        for _ in range(3):
            await watch.look()
        assert (watch.over_ceiling, watch.holds, watch.holding) == (1, 1, True)
        assert scheduler.batch_tokens_cap == 32
        assert memory.gate is not None
        assert f"ceiling is {(210 * MIB) + elsewhere}" in memory.gate.closed
        process.resident = process.floor = 209 * MIB + elsewhere
        await watch.look()
        assert not watch.holding
        assert memory.gate.closed == ""
