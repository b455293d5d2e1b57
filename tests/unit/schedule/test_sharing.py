"""Rows that are computed once for many, limits of admission, deadlines, times and turns."""

from __future__ import annotations

import asyncio
import time

import pytest

from scheduling import Gate, behind_gate, keep, rows, scheduling, settled
from ullage.engines.base import Float32
from ullage.engines.dummy import DummyEngine
from ullage.errors import DeadlineExceeded, Overloaded
from ullage.schedule import Times


def logit(_: int, row: Float32, __: Float32 | None) -> float:
    return float(row[0])


def computed(engine: DummyEngine) -> int:
    return sum(len(batch) for batch in engine.batches)


async def test_equal_rows_in_one_call_are_computed_once():
    engine = DummyEngine()
    async with scheduling(engine) as scheduler:
        [row, other] = rows(5, 7)
        results = await scheduler.submit([row, other, row, row], logit, pure="logit")
        assert scheduler.counters.shared == 2
    assert results[0] == results[2] == results[3] != results[1]
    assert computed(engine) == 2


async def test_equal_rows_of_calls_in_flight_are_computed_once_waiting_or_running():
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine) as scheduler:
        first = asyncio.create_task(scheduler.submit(rows(5), logit, pure="logit"))
        await gate.until_arrived()
        running = asyncio.create_task(scheduler.submit(rows(5), logit, pure="logit"))
        waiting = [asyncio.create_task(scheduler.submit(rows(9, 11), logit, pure="logit")) for _ in range(3)]
        await settled()
        gate.opened.set()
        assert await first == await running
        assert len({tuple(await task) for task in waiting}) == 1
        assert scheduler.counters.queued_tokens == scheduler.counters.running_tokens == 0
    assert computed(engine) == 3


async def test_a_shared_row_outlives_the_caller_that_asked_first():
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine) as scheduler:
        await behind_gate(gate, scheduler, [])
        leaving, staying = (asyncio.create_task(scheduler.submit(rows(9, 11), logit, pure="logit")) for _ in range(2))
        await settled()
        leaving.cancel()
        await settled()
        assert scheduler.counters.queued_tokens == 20
        gate.opened.set()
        assert len(await staying) == 2
    assert computed(engine) == 3


async def test_what_is_not_pure_is_never_shared():
    engine = DummyEngine()
    async with scheduling(engine, cache_bytes=1 << 20) as scheduler:
        [row] = rows(5)
        assert [index for index, _ in await scheduler.submit([row, row], keep)] == [0, 1]
        await scheduler.submit([row], keep)
    assert computed(engine) == 3


async def test_a_score_is_found_in_the_cache_and_equals_the_computed_one():
    engine = DummyEngine()
    async with scheduling(engine, cache_bytes=1 << 20) as scheduler:
        first = await scheduler.submit(rows(5, 7), logit, pure="logit")
        again = await scheduler.submit(rows(5, 7, 9), logit, pure="logit")
        assert again[:2] == first
        assert scheduler.counters.cached == 2
        assert await scheduler.submit(rows(5, 7, 9), logit, pure="logit") == again
        assert await scheduler.submit(rows(5), logit, pure="another") == first[:1]
    assert computed(engine) == 4


async def test_a_cached_call_is_answered_while_the_queue_is_full():
    gate = Gate()
    gate.opened.set()
    async with scheduling(DummyEngine(fail=gate), cache_bytes=1 << 20, queue_tokens=64) as scheduler:
        before = await scheduler.submit(rows(5), logit, pure="logit")
        gate.opened.clear()
        gate.arrived.clear()
        blocking = asyncio.create_task(scheduler.submit(rows(64), keep))
        await gate.until_arrived()
        with pytest.raises(Overloaded):
            await scheduler.submit(rows(5, first_id=50), logit, pure="logit")
        assert await scheduler.submit(rows(5), logit, pure="logit") == before
        gate.opened.set()
        await blocking


async def test_a_call_that_fills_the_queue_and_small_ones_do_not_keep_each_other_out():
    gate = Gate()
    async with scheduling(DummyEngine(fail=gate), queue_tokens=640) as scheduler:
        tasks = await behind_gate(gate, scheduler, [rows(*[64] * 10), rows(5, 5), rows(10)])
        with pytest.raises(Overloaded):
            await scheduler.submit(rows(11), keep)
        gate.opened.set()
        assert [len(found) for found in await asyncio.gather(*tasks)] == [1, 10, 2, 1]
        assert len(await scheduler.submit(rows(*[64] * 10), keep)) == 10


async def test_requests_are_bounded_in_number():
    gate = Gate()
    async with scheduling(DummyEngine(fail=gate), queue_requests=2) as scheduler:
        tasks = await behind_gate(gate, scheduler, [rows(2)])
        with pytest.raises(Overloaded, match="2 requests are waiting, as many as queue_requests allows"):
            await scheduler.submit(rows(2), keep)
        gate.opened.set()
        await asyncio.gather(*tasks)
        assert len(await scheduler.submit(rows(2), keep)) == 1


async def test_held_back_one_request_at_a_time_still_gets_in():
    gate = Gate()
    async with scheduling(DummyEngine(fail=gate)) as scheduler:
        scheduler.hold("memory is short")
        [task] = await behind_gate(gate, scheduler, [])
        with pytest.raises(Overloaded, match="memory is short: retry in"):
            await scheduler.submit(rows(2), keep)
        gate.opened.set()
        await task
        assert len(await scheduler.submit(rows(2), keep)) == 1
        scheduler.resume()


async def test_a_deadline_that_passed_is_not_computed():
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine) as scheduler:
        [first] = await behind_gate(gate, scheduler, [])
        late = asyncio.create_task(scheduler.submit(rows(4, 4), keep, deadline=time.monotonic() - 1))
        gate.opened.set()
        await first
        with pytest.raises(DeadlineExceeded, match="deadline passed"):
            await late
        assert scheduler.counters.expired == 1
        assert len(await scheduler.submit(rows(3), keep, deadline=time.monotonic() + 60)) == 1
    assert engine.batches == [[1], [3]]


async def test_queue_and_compute_times_are_told_apart():
    gate = Gate()
    async with scheduling(DummyEngine(fail=gate)) as scheduler:
        times, waited = Times(), Times()
        first = asyncio.create_task(scheduler.submit(rows(4), keep, times=times))
        await gate.until_arrived()
        second = asyncio.create_task(scheduler.submit(rows(4), keep, times=waited))
        await asyncio.sleep(0.05)
        gate.opened.set()
        await asyncio.gather(first, second)
    assert times.compute_s >= 0.05 > times.queue_s
    assert waited.queue_s >= 0.05 > waited.compute_s


async def test_batches_are_bounded_in_rows():
    engine = DummyEngine()
    async with scheduling(engine, max_batch_rows=3) as scheduler:
        await scheduler.submit(rows(*[1] * 10), keep)
    assert [len(batch) for batch in engine.batches] == [3, 3, 3, 1]


async def test_a_batch_waits_for_more_when_asked_to():
    engine = DummyEngine()
    async with scheduling(engine, batch_wait_s=30.0, max_batch_tokens=8) as scheduler:
        first = asyncio.create_task(scheduler.submit(rows(4), keep))
        await settled()
        assert not first.done()
        await scheduler.submit(rows(4), keep)
        await first
    assert engine.batches == [[4, 4]]


async def test_closing_does_not_wait_for_a_batch_to_fill():
    engine = DummyEngine()
    async with scheduling(engine, batch_wait_s=30.0) as scheduler:
        waiting = asyncio.create_task(scheduler.submit(rows(4), keep))
        await settled()
        async with asyncio.timeout(10):
            await scheduler.close()
        assert len(await waiting) == 1


async def test_turns_keep_batches_short_where_compute_is_slow():
    slow = DummyEngine(tokens_per_s=2000)
    async with scheduling(slow, max_batch_tokens=4096, max_row_tokens=64, turn_s=0.02) as scheduler:
        await scheduler.submit(rows(20), keep)
        await scheduler.submit(rows(*[10] * 60), keep)
    assert max(sum(batch) for batch in slow.batches[1:]) <= 64


async def test_no_more_is_admitted_than_is_done_in_time():
    """At 1,000 tokens a second a request of 640 tokens behind another would be given up half done."""
    gate = Gate()
    gate.opened.set()
    async with scheduling(DummyEngine(fail=gate), queue_tokens=100_000, queue_s=1.0) as scheduler:
        assert scheduler.room_tokens() == 100_000
        scheduler.devices[0].rate.observe(1000, 1.0)
        assert scheduler.room_tokens() == 750
        gate.opened.clear()
        gate.arrived.clear()
        first = asyncio.create_task(scheduler.submit(rows(*[64] * 20), keep))
        await gate.until_arrived()
        with pytest.raises(Overloaded, match="1280 tokens are waiting and 640 more exceed what is done within 1 s, a "
                                             "queue of 750: retry in 2 s"):
            await scheduler.submit(rows(*[64] * 10), keep)
        assert scheduler.counters.queued_tokens + scheduler.counters.running_tokens == 1280
        gate.opened.set()
        assert len(await first) == 20
        scheduler.devices[0].rate.observe(1, 1000.0)
        assert scheduler.room_tokens() == 64, "one full batch is always let in"


async def test_a_few_slow_tokens_do_not_tell_what_can_be_done_in_time():
    """The first request of all is small and slow; a rate of 20 tokens in a second would refuse whoever comes next."""
    async with scheduling(DummyEngine(), queue_tokens=100_000, queue_s=1.0) as scheduler:
        scheduler.devices[0].rate.observe(20, 1.0)
        assert scheduler.room_tokens() == 100_000
        scheduler.devices[0].rate.observe(64, 1.0)
        assert scheduler.room_tokens() < 100


async def test_a_slow_engine_that_only_ever_has_small_batches_shows_its_rate_too():
    async with scheduling(DummyEngine(), queue_tokens=100_000, queue_s=1.0) as scheduler:
        for _ in range(100):
            scheduler.devices[0].rate.observe(1, 1.0)
        assert scheduler.room_tokens() < 100


async def test_a_request_is_admitted_or_refused_as_a_whole():
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine, queue_tokens=640) as scheduler:
        tasks = await behind_gate(gate, scheduler, [rows(*[64] * 6)])
        before = scheduler.counters.queued_tokens
        with pytest.raises(Overloaded):
            await scheduler.submit(rows(*[64] * 5, first_id=100), keep)
        assert scheduler.counters.queued_tokens == before, "four of the five would have had room, and none was kept"
        assert scheduler.counters.refused == 1
        gate.opened.set()
        await asyncio.gather(*tasks)
    assert computed(engine) == 7


async def test_a_call_in_steps_has_room_for_all_of_them_or_is_refused_before_the_first():
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine, queue_tokens=640) as scheduler:

        async def two_steps(first: int, *second: int) -> int:
            with scheduler.reserve(first + sum(second)) as held:
                await scheduler.submit(rows(first), keep, held=held)
                return len(await scheduler.submit(rows(*second), keep, held=held))

        steps = asyncio.create_task(two_steps(4, *[64] * 6))
        await gate.until_arrived()
        with pytest.raises(Overloaded, match="388 tokens are waiting and 320 more exceed the queue of 640"):
            await scheduler.submit(rows(*[64] * 5, first_id=100), keep)
        with pytest.raises(Overloaded):
            await two_steps(4, *[64] * 5)
        filling = asyncio.create_task(scheduler.submit(rows(*[63] * 4, first_id=200), keep))
        await settled()
        gate.opened.set()
        assert await steps == 6, "its second step found its room, though others had filled the rest"
        await filling
        assert len(await scheduler.submit(rows(*[64] * 10), keep)) == 10, "and the room was given back"
    assert [4] in engine.batches


async def test_a_call_in_steps_that_fails_gives_its_room_back():
    async with scheduling(DummyEngine(), queue_tokens=640) as scheduler:
        with pytest.raises(ZeroDivisionError), scheduler.reserve(640):
            raise ZeroDivisionError
        assert len(await scheduler.submit(rows(*[64] * 10), keep)) == 10


async def test_a_request_for_which_there_is_no_room_is_refused_before_its_tokens_are_counted():
    gate = Gate()
    async with scheduling(DummyEngine(fail=gate), queue_tokens=640) as scheduler:
        scheduler.check_room(1 << 30)  # nothing is in flight: one request alone may be larger than the queue
        tasks = await behind_gate(gate, scheduler, [rows(*[64] * 6)])
        scheduler.check_room(200)
        with pytest.raises(Overloaded, match="385 tokens are waiting and 300 more exceed the queue of 640"):
            scheduler.check_room(300)
        assert scheduler.counters.refused == 1
        gate.opened.set()
        await asyncio.gather(*tasks)
