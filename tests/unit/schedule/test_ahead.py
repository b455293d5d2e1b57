"""A batch that waits in the engine's thread behind the one that runs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from scheduling import alone, behind_gate, keep, rows, scheduling, settled
from ullage.engines.base import Batch
from ullage.engines.dummy import DummyEngine
from ullage.errors import EngineFailed


class Steps:
    """Holds every batch of an engine until it is let through, one at a time."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self.let = threading.Semaphore(0)

    def __call__(self, _: Batch) -> None:
        self.arrived.release()
        assert self.let.acquire(timeout=30), "the test never let it through"

    async def until_arrived(self) -> None:
        assert await asyncio.to_thread(self.arrived.acquire, timeout=30)


async def test_the_next_batch_needs_no_turn_of_the_event_loop() -> None:
    steps = Steps()
    engine = DummyEngine(fail=steps)
    async with scheduling(engine, max_batch_tokens=8, ahead=1) as scheduler:
        tasks = await behind_gate(steps, scheduler, [rows(8, first_id=10), rows(8, first_id=20)])
        # The event loop stands still from here; the batch behind the first runs all the same.
        steps.let.release()
        assert steps.arrived.acquire(timeout=30)
        assert engine.batches == [[1]]
        steps.let.release(10)
        assert [len(await task) for task in tasks] == [1, 1, 1]


async def test_without_it_a_batch_waits_for_the_event_loop() -> None:
    steps = Steps()
    async with scheduling(DummyEngine(fail=steps), max_batch_tokens=8) as scheduler:
        tasks = await behind_gate(steps, scheduler, [rows(8, first_id=10)])
        steps.let.release()
        assert not steps.arrived.acquire(timeout=0.2)
        steps.let.release(10)
        await asyncio.gather(*tasks)


class TwoAtOnce(DummyEngine):
    at_once = 2


async def test_an_engine_that_takes_two_batches_at_once_gets_them() -> None:
    steps = Steps()
    async with scheduling(TwoAtOnce(fail=steps), max_batch_tokens=8, ahead=1) as scheduler:
        tasks = await behind_gate(steps, scheduler, [rows(8, first_id=10), rows(8, first_id=20)])
        await steps.until_arrived()  # the second, while the first is held
        assert not steps.arrived.acquire(timeout=0.1)  # and no third
        steps.let.release(10)
        assert [len(await task) for task in tasks] == [1, 1, 1]


async def test_results_are_those_of_each_row_alone() -> None:
    given = [rows(*range(1, 9), first_id=100 * n) for n in range(6)]
    async with scheduling(DummyEngine(), max_batch_tokens=16, ahead=1) as scheduler:
        found = await asyncio.gather(*(scheduler.submit(call, keep) for call in given))
    for call, answers in zip(given, found, strict=True):
        assert [values for _, values in answers] == [alone(row) for row in call]


async def test_who_leaves_while_waiting_behind_a_batch_costs_no_compute() -> None:
    steps = Steps()
    engine = DummyEngine(fail=steps)
    async with scheduling(engine, max_batch_tokens=8, ahead=1) as scheduler:
        first, second = await behind_gate(steps, scheduler, [rows(8, first_id=10)])
        second.cancel()
        await settled()
        steps.let.release(10)
        await first
        assert await scheduler.submit(rows(3), keep)
        assert engine.batches == [[1], [3]]
        assert scheduler.counters.tokens == 4
        assert scheduler.counters.running_tokens == scheduler.counters.queued_tokens == 0


async def test_a_lost_engine_gives_both_batches_to_another() -> None:
    gate = threading.Event()

    def broken(_: Batch) -> None:
        gate.wait(30)
        raise EngineFailed("the device fell off the bus")

    held = threading.Event()
    good = DummyEngine(fail=lambda _: held.wait(30))
    async with scheduling([DummyEngine(fail=broken), good], max_batch_tokens=8, ahead=1) as scheduler:
        tasks = [asyncio.create_task(scheduler.submit(rows(8, first_id=10 * n), keep)) for n in range(6)]
        await settled()
        gate.set()
        held.set()
        found = await asyncio.gather(*tasks)
        assert [answer[0][1] for answer in found] == [alone(rows(8, first_id=10 * n)[0]) for n in range(6)]
        assert [device.state for device in scheduler.devices] == ["lost", "fit"]
        assert scheduler.counters.devices_lost == 1
        assert "fell off the bus" in scheduler.devices[0].reason


async def test_closing_finishes_what_waits_behind_a_batch() -> None:
    steps = Steps()
    async with scheduling(DummyEngine(fail=steps), max_batch_tokens=8, ahead=1) as scheduler:
        tasks = await behind_gate(steps, scheduler, [rows(8, first_id=10)])
        closing = asyncio.create_task(scheduler.close())
        await settled()
        steps.let.release(10)
        await closing
        assert [len(await task) for task in tasks] == [1, 1]


async def test_a_failing_batch_fails_its_own_callers_only() -> None:
    def fail(batch: Batch) -> None:
        if batch.tokens == 7:
            raise EngineFailed("cannot digest seven")

    async with scheduling(DummyEngine(fail=fail), max_batch_tokens=8, ahead=1) as scheduler:
        good, bad, other = (asyncio.create_task(scheduler.submit(rows(n), keep)) for n in (8, 7, 6))
        assert await good
        with pytest.raises(EngineFailed, match="seven"):
            await bad
        assert await other
