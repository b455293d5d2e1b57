"""Rows that come in parts are one request: computed from the first part on, admitted and served as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from scheduling import Gate, alone, keep, rows, scheduling, settled
from ullage.engines.base import Row
from ullage.engines.dummy import DummyEngine
from ullage.errors import EngineFailed, Overloaded, TooLong
from ullage.schedule import Times
from ullage.schedule.scheduler import SMALL_SHARE


class Feed:
    """Gives a part each time it is let go on; `fault` is raised instead of a further one."""

    def __init__(self, *parts: Sequence[Row], fault: Exception | None = None) -> None:
        self._parts, self._fault = parts, fault
        self.waiting = asyncio.Semaphore(0)
        self.given = 0

    def let_go_on(self, parts: int = 1) -> None:
        for _ in range(parts):
            self.waiting.release()

    async def __aiter__(self) -> AsyncIterator[Sequence[Row]]:
        for part in self._parts:
            await self.waiting.acquire()
            self.given += 1
            yield part
        if self._fault is not None:
            raise self._fault


async def test_results_are_in_order_and_the_first_part_does_not_wait_for_the_last() -> None:
    engine = DummyEngine()
    feed = Feed(rows(3, 2), rows(5), rows(1, 4, first_id=9))
    async with scheduling(engine) as scheduler:
        times = Times()
        working = asyncio.create_task(scheduler.submit_parts(feed, keep, about=15, times=times))
        feed.let_go_on()
        while not engine.batches:
            await asyncio.sleep(0.001)
        assert engine.batches == [[3, 2]]
        assert not scheduler.idle
        feed.let_go_on(2)
        found = await working
        assert scheduler.idle
    wanted = [*rows(3, 2), *rows(5), *rows(1, 4, first_id=9)]
    assert found == [(index, alone(row)) for index, row in enumerate(wanted)]
    assert times.compute_s > 0
    assert times.queue_s > 0


async def test_equal_rows_of_one_part_are_computed_once_and_every_place_has_its_result() -> None:
    engine = DummyEngine()
    [same], [other] = rows(4), rows(4, first_id=7)
    feed = Feed([same, other, same], [same, other])
    async with scheduling(engine, max_batch_tokens=8) as scheduler:
        feed.let_go_on(2)
        found = await scheduler.submit_parts(feed, lambda _, row, __: float(row[0]), about=20, pure="first")
        assert scheduler.counters.queued_tokens == scheduler.counters.running_tokens == 0
    assert found == [alone(row)[0] for row in (same, other, same, same, other)]
    assert sum(map(len, engine.batches)) <= 4


async def test_a_small_request_waits_as_for_one_large_one() -> None:
    """As many tokens in forty parts as in one: the small request is in the same batch."""
    parts = [rows(32, 32, first_id=100 * n) for n in range(40)]

    async def batches_before(*, whole: bool) -> int:
        gate = Gate()
        engine = DummyEngine(fail=gate)
        async with scheduling(engine, queue_tokens=SMALL_SHARE * 200) as scheduler:
            if whole:
                large = asyncio.create_task(scheduler.submit([row for part in parts for row in part], keep))
            else:
                feed = Feed(*parts)
                feed.let_go_on(len(parts))
                large = asyncio.create_task(scheduler.submit_parts(feed, keep, about=40 * 64))
            await gate.until_arrived()
            await settled()
            small = asyncio.create_task(scheduler.submit(rows(20, 20, 20, first_id=5000), keep))
            await settled()
            gate.opened.set()
            await small
            await large
        return next(at for at, batch in enumerate(engine.batches) if 20 in batch)

    assert await batches_before(whole=True) == await batches_before(whole=False) <= 2


async def test_it_is_refused_as_a_whole_before_anything_is_asked_for() -> None:
    gate = Gate()
    feed = Feed(rows(1))
    async with scheduling(DummyEngine(fail=gate), queue_tokens=64) as scheduler:
        running = asyncio.create_task(scheduler.submit(rows(60), keep))
        await gate.until_arrived()
        with pytest.raises(Overloaded):
            await scheduler.submit_parts(feed, keep, about=60)
        assert feed.given == 0
        gate.opened.set()
        await running


@pytest.mark.parametrize("fault", [TooLong("the second part is too long"), RuntimeError("no text")])
async def test_a_part_that_cannot_be_made_ends_the_request(fault: Exception) -> None:
    async with scheduling(DummyEngine()) as scheduler:
        feed = Feed(rows(3), fault=fault)
        feed.let_go_on(2)
        with pytest.raises(type(fault), match=str(fault)):
            await scheduler.submit_parts(feed, keep, about=10)
        await settled()
        assert await scheduler.submit(rows(2), keep) == [(0, alone(rows(2)[0]))]
        assert scheduler.idle


async def test_a_row_that_no_batch_holds_is_refused_whatever_its_part() -> None:
    async with scheduling(DummyEngine(), max_row_tokens=16) as scheduler:
        feed = Feed(rows(3), rows(17))
        feed.let_go_on(2)
        with pytest.raises(TooLong, match="Input length 17"):
            await scheduler.submit_parts(feed, keep, about=20)


async def test_when_the_engine_fails_no_further_part_is_asked_for() -> None:
    def fail(_: object) -> None:
        raise EngineFailed("broken")

    feed = Feed(*(rows(3, first_id=n) for n in range(9)))
    async with scheduling(DummyEngine(fail=fail)) as scheduler:
        working = asyncio.create_task(scheduler.submit_parts(feed, keep, about=20))
        feed.let_go_on()
        async with asyncio.timeout(30):
            while scheduler.counters.queued_tokens or scheduler.counters.running_tokens or not feed.given:
                await asyncio.sleep(0.001)
        feed.let_go_on()
        with pytest.raises(EngineFailed, match="broken"):
            await working
        assert feed.given == 2
