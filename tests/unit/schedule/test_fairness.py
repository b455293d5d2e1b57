"""How long a small call takes beside a large one, in a time of our own: nothing here waits for a clock."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from scheduling import Gate, rows, scheduling
from ullage.engines.base import Row
from ullage.engines.dummy import DummyEngine
from ullage.schedule.queue import FairQueue
from ullage.schedule.request import Item, Request
from ullage.schedule.scheduler import LARGE_PRICE

TOKENS_PER_S = 2000.0
TURN_S = 0.1
TURN_TOKENS = int(TOKENS_PER_S * TURN_S)
BATCH_TOKENS = 8192
SMALL, LARGE = 5, 512


class Clock:
    """One engine that takes a fixed time a token, clients that send when their time has come, and no other time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue = FairQueue()
        self.loop = asyncio.new_event_loop()
        self.times: dict[str, list[float]] = {}
        self._order = 0
        self._due: list[tuple[float, str]] = []
        self._open: dict[Request, tuple[str, float]] = {}
        self._clients: dict[str, tuple[np.random.Generator, int, float]] = {}
        self.longest_s = 0.0

    def client(self, name: str, seed: int, passages: int, think_s: float) -> None:
        """Sends calls one after the other, each at a random time of at most `think_s` after the answer."""
        self._clients[name] = (np.random.default_rng(seed), passages, think_s)
        self.times[name] = []
        self._due.append((0.0, name))

    def run(self, name: str, calls: int) -> list[float]:
        """Seconds of the first `calls` calls of a client."""
        while len(self.times[name]) < calls:
            for due in [due for due in self._due if due[0] <= self.now]:
                self._due.remove(due)
                self._send(*due)
            batch = self.queue.take(BATCH_TOKENS, TURN_TOKENS, None, self.now)
            if batch:
                self._compute(batch)
            else:
                self.now = min(at for at, _ in self._due)
        return self.times[name]

    def _send(self, at: float, name: str) -> None:
        random, passages, _ = self._clients[name]
        self._order += 1
        request = Request(lambda *_: 0.0, self.loop.create_future(), [None] * passages, self._order)
        request.price = LARGE_PRICE if passages == LARGE else 1
        for index, length in enumerate(random.integers(60, 200, passages)):
            item = Item(Row(np.zeros(int(length), np.int32)), waiters=[(request, index)])
            request.wants.append((item, index))
        request.unfinished = passages
        self.queue.add(request, [item for item, _ in request.wants])
        self._open[request] = (name, at)

    def _compute(self, batch: list[Item]) -> None:
        spent = sum(item.tokens for item in batch) / TOKENS_PER_S
        self.longest_s = max(self.longest_s, spent)
        self.now += spent
        for item in batch:
            [(request, index)] = item.waiters
            request.keep(index, 0.0)
            if request.done.done():
                self._done(request)

    def _done(self, request: Request) -> None:
        self.queue.drop(request)
        name, sent = self._open.pop(request)
        self.times[name].append(self.now - sent)
        random, _, think_s = self._clients[name]
        self._due.append((self.now + random.uniform(0, think_s), name))


@pytest.fixture
def clock():
    made = [Clock(), Clock()]
    yield made
    for each in made:
        each.loop.close()


@pytest.mark.parametrize("larges", [1, 3])
def test_a_small_call_beside_large_ones_waits_for_one_batch_and_gets_four_fifths(clock, larges):
    alone, beside = clock
    for each in (alone, beside):
        each.client("small", seed=1, passages=SMALL, think_s=0.3)
    for number in range(larges):
        beside.client(f"large {number}", seed=2 + number, passages=LARGE, think_s=0.0)
    unloaded, loaded = alone.run("small", 600), beside.run("small", 600)
    added = np.asarray(loaded) - np.asarray(unloaded)
    turns = 1 + np.ceil(np.asarray(unloaded) / (LARGE_PRICE * TURN_S))
    assert beside.longest_s <= TURN_S
    assert (added <= turns * TURN_S).all(), "the batch under way, and one more for every four of its own"
    assert np.quantile(loaded, 0.99) <= 3 * np.quantile(unloaded, 0.99) + TURN_S
    assert added.max() > TURN_S / 2  # or nothing was in the way, and this proves nothing
    assert beside.times["large 0"]


def test_a_large_call_beside_a_stream_of_small_ones_keeps_a_fifth(clock):
    alone, beside = clock
    for each in (alone, beside):
        each.client("large", seed=2, passages=LARGE, think_s=0.0)
    for number in range(8):
        beside.client(f"small {number}", seed=10 + number, passages=SMALL, think_s=0.0)
    [unloaded], [loaded, *_] = alone.run("large", 1), beside.run("large", 1)
    assert 3 * unloaded < loaded <= 6 * unloaded


async def test_a_call_in_two_steps_is_not_made_to_wait_twice():
    gate = Gate()
    engine = DummyEngine(fail=gate)
    async with scheduling(engine, queue_tokens=64 * 64) as scheduler:

        async def two_steps() -> None:
            await scheduler.submit(rows(3), lambda *_: 0.0)
            await scheduler.submit(rows(5), lambda *_: 0.0)

        large = asyncio.create_task(scheduler.submit(rows(*[40] * 8), lambda *_: 0.0))
        await gate.until_arrived()
        small = asyncio.create_task(two_steps())
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(large, small)
    lengths = [batch for batch in engine.batches if batch != [40]]
    assert lengths == [[3], [5]]
    assert engine.batches[:3] == [[40], [3], [5]]
