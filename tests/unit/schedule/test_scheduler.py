"""The scheduler over the dummy engine. What is counted is batches and tokens; no test depends on time."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from scheduling import Gate, alone, behind_gate, keep, rows, scheduling, settled
from ullage.engines.base import Batch, Float32
from ullage.engines.dummy import DummyEngine
from ullage.errors import EngineFailed, NotReady, OutOfMemory, Overloaded, TooLong
from ullage.schedule import Scheduler


async def test_results_come_in_order_and_equal_the_row_alone() -> None:
    async with scheduling(DummyEngine()) as scheduler:
        call = rows(5, 40, 1, 63, 7, 64, 2, 2)
        results = await scheduler.submit(call, keep)
    assert [index for index, _ in results] == list(range(8))
    for row, (_, numbers) in zip(call, results, strict=True):
        np.testing.assert_allclose(numbers, alone(row), atol=1e-5)


async def test_no_batch_holds_more_tokens_than_it_may() -> None:
    engine = DummyEngine()
    lengths = [int(n) for n in np.random.default_rng(3).integers(1, 65, 300)]
    async with scheduling(engine) as scheduler:
        await asyncio.gather(*(scheduler.submit(rows(*lengths[i : i + 30]), keep) for i in range(0, 300, 30)))
        counted = scheduler.counters
    assert max(sum(batch) for batch in engine.batches) <= 64
    assert sorted(n for batch in engine.batches for n in batch) == sorted(lengths)
    assert (counted.rows, counted.tokens, counted.batches) == (300, sum(lengths), len(engine.batches))
    assert (counted.queued_tokens, counted.running_tokens) == (0, 0)


async def test_token_vectors_reach_the_reducer_of_their_row() -> None:
    def shape(_: int, __: Float32, vectors: Float32 | None) -> tuple[int, ...]:
        assert vectors is not None
        return vectors.shape

    async with scheduling(DummyEngine(token_vectors=True)) as scheduler:
        assert await scheduler.submit(rows(3, 9, 1), shape) == [(3, 8), (9, 8), (1, 8)]


async def test_a_small_call_does_not_wait_for_a_large_one_before_it() -> None:
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine, queue_tokens=10_000) as scheduler:
        tasks = await behind_gate(gate, scheduler, [rows(*[8] * 512), rows(*[8] * 5)])
        gate.opened.set()
        await tasks[2]
        after = len(engine.batches)
        await tasks[1]
    # 512 rows are 64 batches of eight; five of the small call's rows share the first two with the large one's.
    assert after <= 5
    assert len(engine.batches) >= 60


async def test_a_long_row_is_not_passed_over_for_ever() -> None:
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine, queue_tokens=10_000) as scheduler:
        tasks = await behind_gate(gate, scheduler, [rows(*[8] * 200), rows(64), rows(*[8] * 200)])
        gate.opened.set()
        await tasks[2]
        after = len(engine.batches)
        await asyncio.gather(*tasks)
    assert after <= 5


async def test_short_rows_fill_the_room_that_a_long_one_cannot_use() -> None:
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine) as scheduler:
        tasks = await behind_gate(gate, scheduler, [rows(*[8] * 16), rows(64, 64)])
        gate.opened.set()
        await asyncio.gather(*tasks)
    assert sorted(sum(batch) for batch in engine.batches) == [1, 64, 64, 64, 64]


async def test_admission_refuses_the_whole_call_and_accounts_back_to_zero() -> None:
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine, queue_tokens=100) as scheduler:
        tasks = await behind_gate(gate, scheduler, [rows(50)])
        with pytest.raises(Overloaded, match="51 tokens are waiting and 60 more exceed the queue of 100") as refused:
            await scheduler.submit(rows(30, 30), keep)
        assert refused.value.retry_after_s >= 1
        assert scheduler.counters.queued_tokens + scheduler.counters.running_tokens == 51
        gate.opened.set()
        await asyncio.gather(*tasks)
        await settled()
        assert scheduler.counters.queued_tokens == scheduler.counters.running_tokens == 0
        assert scheduler.counters.refused == 1
        assert len(await scheduler.submit(rows(30, 30), keep)) == 2
    assert sorted(n for batch in engine.batches for n in batch) == [1, 30, 30, 50]


async def test_a_call_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    async with scheduling(DummyEngine(), queue_tokens=100) as scheduler:
        assert len(await scheduler.submit(rows(*[50] * 10), keep)) == 10


async def test_a_row_that_no_batch_holds_is_refused() -> None:
    async with scheduling(DummyEngine(), max_row_tokens=32) as scheduler:
        with pytest.raises(TooLong, match="Input length 33 exceeds maximum allowed token size 32"):
            await scheduler.submit(rows(4, 33), keep)
        assert scheduler.counters.queued_tokens == 0
        assert await scheduler.submit([], keep) == []


async def test_a_cancelled_call_stops_costing_compute() -> None:
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine, queue_tokens=10_000) as scheduler:
        big = asyncio.create_task(scheduler.submit(rows(*[32] * 100), keep))
        await gate.until_arrived()
        big.cancel()
        with pytest.raises(asyncio.CancelledError):
            await big
        gate.opened.set()
        assert len(await scheduler.submit(rows(5), keep)) == 1
        assert scheduler.counters.queued_tokens == scheduler.counters.running_tokens == 0
    assert engine.batches == [[32, 32], [5]]


async def test_a_failing_engine_is_heard_of_by_every_waiter_and_stops_their_compute() -> None:
    gate = Gate()
    broken = True

    def fail(batch: Batch) -> None:
        gate(batch)
        if broken and batch.rows > 1:
            raise RuntimeError("the device fell off")

    engine = DummyEngine(fail=fail)
    async with scheduling(engine, queue_tokens=10_000) as scheduler:
        # Equal row counts: the calls must still be told apart.
        tasks = await behind_gate(gate, scheduler, [rows(*[16] * 20), rows(*[16] * 20)])
        gate.opened.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[0], list)
        for result in results[1:]:
            assert isinstance(result, EngineFailed)
            assert str(result) == "RuntimeError: the device fell off"
        assert scheduler.counters.failures == 1
        assert scheduler.counters.queued_tokens == scheduler.counters.running_tokens == 0
        broken = False
        assert len(await scheduler.submit(rows(4, 4), keep)) == 2


async def test_calls_of_equal_size_end_independently_and_close_does_not_hang() -> None:
    gate = Gate()
    async with scheduling(DummyEngine(fail=gate)) as scheduler:
        tasks = await behind_gate(gate, scheduler, [rows(4, 4), rows(4, 4, first_id=50), rows(4, 4, first_id=90)])
        tasks[2].cancel()
        gate.opened.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[2], asyncio.CancelledError)
        assert [len(result) for result in (results[1], results[3]) if isinstance(result, list)] == [2, 2]
        async with asyncio.timeout(30):
            await scheduler.close()


async def test_out_of_memory_splits_the_batch_and_later_batches_are_smaller() -> None:
    engine = DummyEngine(max_tokens=40)
    call = rows(*[8] * 40)
    async with scheduling(engine, max_row_tokens=16) as scheduler:
        results = await scheduler.submit(call, keep)
        assert scheduler.counters.splits == 1
        assert scheduler.counters.failures == 0
    for row, (_, numbers) in zip(call, results, strict=True):
        np.testing.assert_allclose(numbers, alone(row), atol=1e-5)
    assert max(sum(batch) for batch in engine.batches) <= 32


async def test_a_row_too_large_for_memory_fails_alone() -> None:
    gate = Gate()
    engine = DummyEngine(max_tokens=40, fail=gate)
    async with scheduling(engine) as scheduler:
        tasks = await behind_gate(gate, scheduler, [rows(50), rows(6, 8)])
        gate.opened.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[1], OutOfMemory)
        assert isinstance(results[2], list)
        assert len(results[2]) == 2


async def test_a_failing_reducer_fails_its_own_call_only() -> None:
    def refuse(_: int, __: Float32, ___: Float32 | None) -> None:
        raise ValueError("no such word")

    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine) as scheduler:
        [first] = await behind_gate(gate, scheduler, [])
        bad = asyncio.create_task(scheduler.submit(rows(4, 4), refuse))
        good = asyncio.create_task(scheduler.submit(rows(4, 4), keep))
        await settled()
        gate.opened.set()
        await first
        with pytest.raises(EngineFailed, match="ValueError: no such word"):
            await bad
        assert len(await good) == 2
    assert engine.batches == [[1], [4, 4, 4, 4]]


async def test_close_drains_what_was_admitted_and_refuses_the_rest() -> None:
    gate = Gate()
    engine = DummyEngine(fail=gate)
    scheduler = Scheduler(engine, max_batch_tokens=64)
    with pytest.raises(NotReady, match="not loaded"):
        await scheduler.submit(rows(1), keep)
    await scheduler.start()
    tasks = await behind_gate(gate, scheduler, [rows(*[32] * 10)])
    closing = asyncio.create_task(scheduler.close())
    await settled()
    with pytest.raises(NotReady, match="stopping"):
        await scheduler.submit(rows(1), keep)
    assert engine.loaded
    gate.opened.set()
    assert len(await tasks[1]) == 10
    await closing
    assert not engine.loaded
    await scheduler.close()


async def test_what_load_raises_comes_out_of_start() -> None:
    class Small(DummyEngine):
        def load(self) -> None:
            raise OutOfMemory("needs 9 bytes, has 8")

    scheduler = Scheduler(Small(), max_batch_tokens=8)
    with pytest.raises(OutOfMemory, match="needs 9 bytes"):
        await scheduler.start()
    await scheduler.close()


@pytest.mark.parametrize("limit", [1, 7, 64])
async def test_any_mix_of_calls_gets_every_number(limit: int) -> None:
    rng = np.random.default_rng(limit)
    calls = [rows(*(int(n) for n in rng.integers(1, limit + 1, rng.integers(1, 20))), first_id=i) for i in range(12)]
    async with scheduling(DummyEngine(), max_batch_tokens=limit) as scheduler:
        results = await asyncio.gather(*(scheduler.submit(call, keep) for call in calls))
    for call, found in zip(calls, results, strict=True):
        for row, (_, numbers) in zip(call, found, strict=True):
            np.testing.assert_allclose(numbers, alone(row), atol=1e-5)
