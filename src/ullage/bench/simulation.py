"""Many replicas in virtual time: each has the product's own queue (`schedule/queue.py`), nothing computes.

Requests come at random and go to the shorter of two replicas chosen by chance, as Ray Serve does. A batch takes its
tokens at the measured rate, and a fixed time besides.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ullage.engines.base import Row
from ullage.schedule.queue import FairQueue
from ullage.schedule.request import Item, Request
from ullage.schedule.scheduler import LARGE_PRICE, SMALL_SHARE

QUEUE_TOKENS = 262_144
TURN_S = 0.1
LENGTHS = (64, 128, 192, 256, 360)
"""Of rows, in tokens; their mean is 200."""

ARRIVAL, DONE = 0, 1


@dataclass(frozen=True, slots=True)
class Setup:
    """`tokens_per_s` of one replica, `requests_per_s` of all, times in seconds. `passages` are those of each request,
    or with `varied` their mean: sizes then vary as much as that."""

    replicas: int
    requests_per_s: float
    passages: int = 40
    tokens_per_s: float = 14_220.0
    batch_s: float = 0.002
    max_batch_tokens: int = 8192
    seconds: float = 60.0
    varied: bool = False
    seed: int = 0


@dataclass(slots=True)
class Outcome:
    """`waits_s` are from arrival to the last row, of the requests that came in the later half."""

    setup: Setup
    requests: int = 0
    passages: int = 0
    waits_s: list[float] = field(default_factory=list)
    busy_s: float = 0.0

    @property
    def busy(self) -> float:
        """Share of the replicas' time."""
        return self.busy_s / (self.setup.replicas * self.setup.seconds)

    def percentile(self, share: float) -> float:
        return float(np.quantile(self.waits_s, share)) if self.waits_s else 0.0


class _Replica:
    def __init__(self) -> None:
        self.queue = FairQueue()
        self.running = False
        self.tokens = 0


def simulate(setup: Setup) -> Outcome:
    """Run `setup.seconds` of arrivals, and until all are answered. The same setup gives the same outcome."""
    loop = asyncio.new_event_loop()  # requests of the scheduler hold a future; nothing ever runs on it
    try:
        return _Run(setup, loop).run()
    finally:
        loop.close()


class _Run:
    def __init__(self, setup: Setup, loop: asyncio.AbstractEventLoop) -> None:
        self._setup = setup
        self._loop = loop
        self._chance = random.Random(setup.seed)  # noqa: S311 - a simulation
        self._rows = [Row(np.zeros(length, np.int32)) for length in LENGTHS]
        self._replicas = [_Replica() for _ in range(setup.replicas)]
        self._events: list[tuple[float, int, int, Any]] = []
        self._order = 0
        self._arrived: dict[int, float] = {}
        self._outcome = Outcome(setup)

    def run(self) -> Outcome:
        self._at(self._chance.expovariate(self._setup.requests_per_s), ARRIVAL, None)
        while self._events:
            now, _, kind, what = heapq.heappop(self._events)
            if kind == DONE:
                self._done(now, *what)
            else:
                self._arrive(now)
                later = now + self._chance.expovariate(self._setup.requests_per_s)
                if later < self._setup.seconds:
                    self._at(later, ARRIVAL, None)
        return self._outcome

    def _at(self, when: float, kind: int, what: Any) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, kind, what))

    def _arrive(self, now: float) -> None:
        mean = self._setup.passages
        count = max(1, round(self._chance.expovariate(1 / mean))) if self._setup.varied else mean
        request = Request(lambda *_: None, self._loop.create_future(), [None] * count, self._order)
        items = [Item(self._chance.choice(self._rows)) for _ in range(count)]
        for index, item in enumerate(items):
            request.wants.append((item, index))
            item.waiters.append((request, index))
        request.unfinished = count
        request.tokens = sum(item.tokens for item in items)
        request.price = 1 if request.tokens <= QUEUE_TOKENS // SMALL_SHARE else LARGE_PRICE
        replica = self._choose()
        replica.tokens += request.tokens
        replica.queue.add(request, items)
        self._arrived[id(request)] = now
        self._outcome.requests += 1
        self._outcome.passages += count
        if not replica.running:
            self._begin(replica, now)

    def _choose(self) -> _Replica:
        if len(self._replicas) == 1:
            return self._replicas[0]
        return min(self._chance.sample(self._replicas, 2), key=lambda replica: len(replica.queue))

    def _begin(self, replica: _Replica, now: float) -> None:
        setup = self._setup
        items = replica.queue.take(setup.max_batch_tokens, int(setup.tokens_per_s * TURN_S), None, now)
        replica.running = bool(items)
        if items:
            seconds = sum(item.tokens for item in items) / setup.tokens_per_s + setup.batch_s
            self._outcome.busy_s += seconds
            self._at(now + seconds, DONE, (replica, items))

    def _done(self, now: float, replica: _Replica, items: list[Item]) -> None:
        for item in items:
            replica.queue.settle(item)
            replica.tokens -= item.tokens
            for request, index in item.waiters:
                request.keep(index, True)
                if request.unfinished == 0:
                    self._answered(request, replica, now)
        self._begin(replica, now)

    def _answered(self, request: Request, replica: _Replica, now: float) -> None:
        replica.queue.drop(request)
        arrived = self._arrived.pop(id(request))
        if arrived >= self._setup.seconds / 2:
            self._outcome.waits_s.append(now - arrived)
