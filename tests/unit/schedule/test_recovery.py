"""Running out of memory and failing engines: what is tried, what is counted, and who hears of it."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from scheduling import Gate, alone, behind_gate, keep, rows, scheduling, settled
from ullage.engines.base import Batch, Usage
from ullage.engines.dummy import DummyEngine
from ullage.errors import EngineFailed, OutOfMemory, Unavailable
from ullage.schedule import device


class Memory:
    """What an engine has room for, in tokens; changed while it runs."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def __call__(self, batch: Batch) -> None:
        if batch.tokens > self.tokens:
            raise OutOfMemory(f"{batch.tokens} tokens, room for {self.tokens}")


@pytest.fixture
def soon(monkeypatch) -> None:
    """Probes follow each other at once."""
    monkeypatch.setattr(device, "FIRST_PROBE_S", 0.01)
    monkeypatch.setattr(device, "LAST_PROBE_S", 0.02)


async def until(wanted) -> None:
    async with asyncio.timeout(20):
        while not wanted():
            await asyncio.sleep(0.005)


async def test_the_cap_goes_down_and_comes_back_when_memory_does():
    memory = Memory(20)
    engine = DummyEngine(fail=memory)
    call = rows(*[8] * 8)
    async with scheduling(engine, max_row_tokens=16) as scheduler:
        results = await scheduler.submit(call, keep)
        assert scheduler.counters.cap_lowerings == 2
        assert (scheduler.batch_tokens_cap, scheduler.batch_tokens_planned) == (16, 64)
        assert engine.released == scheduler.counters.ooms
        memory.tokens = 1000
        for _ in range(100):
            await scheduler.submit(call, keep)
        assert scheduler.batch_tokens_cap == 64
        assert scheduler.counters.cap_raises >= 6
        assert scheduler.counters.failures == 0
    for row, (_, numbers) in zip(call, results, strict=True):
        np.testing.assert_allclose(numbers, alone(row), atol=1e-5)


async def test_a_row_that_fits_the_second_time_is_nobodys_business():
    failed = iter([True])

    def once(batch: Batch) -> None:
        if next(failed, False):
            raise OutOfMemory("busy")

    heard: list[str] = []
    engine = DummyEngine(fail=once)
    async with scheduling(engine, on_fit=heard.append) as scheduler:
        assert len(await scheduler.submit(rows(50), keep)) == 1
        assert (scheduler.counters.ooms, scheduler.counters.probes, scheduler.counters.failures) == (1, 0, 0)
    assert heard == []
    assert engine.released == 1


async def test_unready_only_when_one_longest_row_no_longer_fits_and_ready_again_unasked(soon):
    memory = Memory(1000)
    heard: list[str] = []
    async with scheduling(DummyEngine(fail=memory), on_fit=heard.append) as scheduler:
        memory.tokens = 30
        with pytest.raises(OutOfMemory, match="a row of 50 tokens does not fit in memory") as refused:
            await scheduler.submit(rows(50), keep)
        assert isinstance(refused.value, Unavailable)
        assert refused.value.retry_after_s >= 1
        assert heard == ["one row of 64 tokens cannot be computed now: 64 tokens, room for 30"]
        assert scheduler.unfit == heard[0]
        assert len(await scheduler.submit(rows(20, 20), keep)) == 2
        memory.tokens = 60
        await until(lambda: scheduler.counters.probes >= 4)
        assert scheduler.unfit
        memory.tokens = 64
        await until(lambda: not scheduler.unfit)
        assert heard[-1] == ""
        assert all(reason.startswith("one row of 64 tokens") for reason in heard[:-1])
        assert len(await scheduler.submit(rows(50), keep)) == 1


async def test_a_shorter_row_that_fails_leaves_it_ready_when_a_longest_fits():
    def odd(batch: Batch) -> None:
        if batch.tokens == 33:
            raise OutOfMemory("never this length")

    heard: list[str] = []
    async with scheduling(DummyEngine(fail=odd), on_fit=heard.append) as scheduler:
        with pytest.raises(OutOfMemory, match="never this length"):
            await scheduler.submit(rows(33), keep)
        assert heard == []
        assert scheduler.counters.ooms == 3


async def test_two_engines_share_one_queue():
    gates = Gate(), Gate()
    engines = [DummyEngine(fail=gate) for gate in gates]
    async with scheduling(engines, queue_tokens=10_000) as scheduler:
        call = asyncio.create_task(scheduler.submit(rows(*[32] * 8), keep))
        for gate in gates:
            await gate.until_arrived()
        assert scheduler.counters.running_tokens == 128
        for gate in gates:
            gate.opened.set()
        assert [index for index, _ in await call] == list(range(8))
    assert sum(len(batch) for engine in engines for batch in engine.batches) == 8


async def test_a_failed_engine_is_taken_out_and_its_rows_run_on_the_other():
    broken = False

    def fail(_: Batch) -> None:
        if broken:
            raise RuntimeError("the device fell off the bus")

    heard: list[str] = []
    engines = [DummyEngine(fail=fail), DummyEngine()]
    async with scheduling(engines, queue_tokens=100_000, on_fit=heard.append) as scheduler:
        broken = True
        call = rows(*[16] * 200)
        results = await scheduler.submit(call, keep)
        for row, (_, numbers) in zip(call, results, strict=True):
            np.testing.assert_allclose(numbers, alone(row), atol=1e-5)
        assert scheduler.counters.devices_lost == 1
        assert [one.state for one in scheduler.devices] == ["lost", "fit"]
        assert "fell off the bus" in scheduler.devices[0].reason
        assert len(await scheduler.submit(call, keep)) == 200
        assert await scheduler.usage() == []
    assert heard == []
    assert not any(engine.loaded for engine in engines)


async def test_the_only_engine_that_fails_makes_it_unready_until_it_works_again(soon):
    broken = True

    def fail(_: Batch) -> None:
        if broken:
            raise RuntimeError("the device fell off the bus")

    heard: list[str] = []
    async with scheduling(DummyEngine(fail=fail), on_fit=heard.append) as scheduler:
        with pytest.raises(EngineFailed, match="fell off the bus"):
            await scheduler.submit(rows(5), keep)
        await settled()
        assert heard == ["the engine failed: the device fell off the bus"]
        broken = False
        await until(lambda: not scheduler.unfit)
        assert len(await scheduler.submit(rows(5), keep)) == 1


async def test_a_batch_that_an_engine_cannot_digest_fails_its_callers_only():
    def fail(batch: Batch) -> None:
        if (batch.input_ids == 99).any():
            raise EngineFailed("a number that is not finite")

    heard: list[str] = []
    async with scheduling(DummyEngine(fail=fail), on_fit=heard.append) as scheduler:
        with pytest.raises(EngineFailed, match="not finite"):
            await scheduler.submit(rows(5, first_id=99), keep)
        assert len(await scheduler.submit(rows(5), keep)) == 1
    assert heard == []


async def test_an_engine_without_memory_hands_its_row_to_the_one_that_has():
    small, gate = Memory(30), Gate()
    engines = [DummyEngine(fail=small), DummyEngine(fail=gate)]
    heard: list[str] = []
    async with scheduling(engines, queue_tokens=10_000, on_fit=heard.append) as scheduler:
        gate.opened.set()
        for _ in range(20):
            assert len(await scheduler.submit(rows(60, 60, 60), keep)) == 3
        assert scheduler.counters.failures == 0
        assert heard == []


async def test_abandoned_work_is_not_tried_again():
    gate = Gate()

    def fail(batch: Batch) -> None:
        gate(batch)
        raise OutOfMemory("no")

    async with scheduling(DummyEngine(fail=fail)) as scheduler:
        [task] = await behind_gate(gate, scheduler, [])
        task.cancel()
        await settled()
        gate.opened.set()
        await until(lambda: scheduler.counters.running_tokens == 0)
        assert scheduler.counters.ooms == 1
        assert scheduler.counters.abandoned == 1


async def test_usage_is_asked_in_the_engines_own_thread():
    class Told(DummyEngine):
        def usage(self) -> Usage | None:
            return Usage("cuda:0", 5, 7, 9)

    async with scheduling(Told()) as scheduler:
        assert await scheduler.usage() == [Usage("cuda:0", 5, 7, 9)]
        assert scheduler.devices[0].last_usage == Usage("cuda:0", 5, 7, 9)
