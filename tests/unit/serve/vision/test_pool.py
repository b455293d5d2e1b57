"""Turns, refusals and faults above an engine that computes nothing."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ullage.engines.vision.engine import Asked, Found
from ullage.errors import EngineFailed, InvalidRequest, NotReady, OutOfMemory, Overloaded
from ullage.serve.vision.pool import Pool


class Engine:
    """Notes what it was given; `b"bad"`, `b"full"` and `b"broken"` raise, each in its own way."""

    ooms = 0

    def __init__(self) -> None:
        self.order: list[bytes] = []
        self.go = threading.Event()
        self.go.set()
        self.closed = False

    def load(self) -> None: ...

    def release(self) -> None: ...

    def run(self, asked: Asked) -> Found:
        assert self.go.wait(5)
        self.order.append(asked.data)
        if asked.data == b"bad":
            raise InvalidRequest("no picture")
        if asked.data == b"full":
            raise OutOfMemory("no room")
        if asked.data == b"broken":
            raise ZeroDivisionError
        return Found(1, len(asked.data))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
async def engine():
    return Engine()


@pytest.fixture
async def pool(engine):
    made = Pool(engine, most_waiting=4)
    await made.start()
    yield made
    engine.go.set()
    await made.close()
    assert engine.closed


def asked(*data: bytes) -> list[Asked]:
    return [Asked("ocr", one) for one in data]


async def test_answers_come_in_the_order_of_the_pictures(pool):
    looked = await pool.look(asked(b"1", b"22", b"333"))
    assert [found.height for found in looked.found] == [1, 2, 3]
    assert pool.counters.pictures == 3
    assert pool.counters.waiting == 0


async def test_requests_take_turns(pool, engine):
    engine.go.clear()
    many = asyncio.create_task(pool.look(asked(b"a1", b"a2", b"a3")))
    await asyncio.sleep(0.02)
    one = asyncio.create_task(pool.look(asked(b"b1")))
    await asyncio.sleep(0.02)
    engine.go.set()
    await asyncio.gather(many, one)
    assert engine.order.index(b"b1") < engine.order.index(b"a3")


@pytest.mark.parametrize(("data", "error", "said"), [
    (b"bad", InvalidRequest, "input.1: no picture"), (b"full", OutOfMemory, "no room"),
    (b"broken", EngineFailed, "input.1: ZeroDivisionError"),
])
async def test_a_fault_ends_its_request_and_no_other(pool, engine, data, error, said):
    results = await asyncio.gather(pool.look(asked(b"x", data, b"never")), pool.look(asked(b"y")),
                                   return_exceptions=True)
    assert isinstance(results[0], error)
    assert said in str(results[0])
    assert len(results[1].found) == 1
    assert b"never" not in engine.order


async def test_a_full_queue_refuses_whole_requests_with_a_time(pool, engine):
    engine.go.clear()
    first = asyncio.create_task(pool.look(asked(b"1", b"2", b"3")))
    await asyncio.sleep(0.02)
    with pytest.raises(Overloaded, match="2 pictures wait and 3 more exceed 4") as refused:
        await pool.look(asked(b"4", b"5", b"6"))
    assert refused.value.retry_after_s >= 1
    engine.go.set()
    await first
    assert pool.counters.refused == 1


async def test_what_a_caller_left_waiting_is_dropped(pool, engine):
    engine.go.clear()
    gone = asyncio.create_task(pool.look(asked(b"1", b"2", b"3")))
    await asyncio.sleep(0.02)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    engine.go.set()
    await pool.look(asked(b"4"))
    assert engine.order == [b"1", b"4"]
    assert pool.counters.abandoned == 1
    assert pool.counters.waiting == 0


async def test_held_back_while_over_the_plan(pool):
    pool.hold("too much is resident")
    with pytest.raises(Overloaded, match="too much is resident"):
        await pool.look(asked(b"1"))
    pool.lower_caps()
    pool.resume()
    assert len((await pool.look(asked(b"1"))).found) == 1


async def test_closing_finishes_what_was_accepted(engine):
    pool = Pool(engine, most_waiting=4)
    with pytest.raises(NotReady):
        await pool.look(asked(b"0"))
    await pool.start()
    engine.go.clear()
    accepted = asyncio.create_task(pool.look(asked(b"1", b"2")))
    await asyncio.sleep(0.02)
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0.02)
    with pytest.raises(NotReady, match="stopping"):
        await pool.look(asked(b"3"))
    engine.go.set()
    assert len((await accepted).found) == 2
    await closing
    assert engine.closed
