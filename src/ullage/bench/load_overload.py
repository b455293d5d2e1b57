"""Several times what a service can do, for minutes: what is still answered, what is refused, and what is left after."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx
import numpy as np

from ullage.bench.load import Call, Client, connect, counted, quantile

SIZES, SHARES = (5, 40, 100), (0.5, 0.4, 0.1)
"""Passages of a call, and how many of the calls have so many."""

WORDS = (60, 200)
CHECKED = 30
"""Answers under load that are compared with those of the same calls afterwards, alone."""

CLOSED_CLIENTS = 8
LOOK_S = 1.0
RECOVERY_CALLS = 20


@dataclass(frozen=True, slots=True)
class Phase:
    """What the engine did over one span of the run: with less goodput, was it idle, or slower?

    `busy` is the share of the span in which it computed.
    """

    busy: float
    tokens_per_compute_s: float
    rows_per_batch: float

    @classmethod
    def between(cls, before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> Phase:
        spent, tokens, rows, batches = counted(before, after, "compute_seconds", "tokens", "rows", "batches")
        return cls(spent / seconds, tokens / spent if spent else 0.0, rows / batches if batches else 0.0)


@dataclass(slots=True)
class Overload:
    """`capacity` is pairs per second of a few clients that wait for their answers, before and after.

    `goodput` are pairs per second answered from `settled_s` on, once the queue is full, to the end of the load.
    `bare` are refusals without Retry-After; `lost` had no answer at all; of `checked` answers, `wrong` had other scores
    than the same call alone.
    `first_resident_bytes` is the resident memory at `settled_s`. `drained_s` are seconds from the last request to the
    last answer, `small_s` those of the first 5-passage call after the load, `recovered_p50_s` the median of those that
    came when all was answered; `alone_p50_s` the median before.
    """

    factor: float
    seconds: float
    settled_s: float
    capacity: tuple[float, float] = (0.0, 0.0)
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    goodput: float = 0.0
    bare: int = 0
    lost: list[str] = field(default_factory=list)
    checked: int = 0
    wrong: int = 0
    refusal_p50_s: float = 0.0
    refusal_p99_s: float = 0.0
    answer_p50_s: float = 0.0
    answer_p99_s: float = 0.0
    first_resident_bytes: int = 0
    last_resident_bytes: int = 0
    peak_resident_bytes: int = 0
    drained_s: float = 0.0
    small_s: float = 0.0
    alone_p50_s: float = 0.0
    recovered_p50_s: float = 0.0
    phases: dict[str, Phase] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """Goodput of the larger capacity, that before or that after."""
        return self.goodput / max(self.capacity)

    @property
    def failed(self) -> int:
        """Requests that were neither answered nor refused."""
        return len(self.lost) + sum(count for status, count in self.statuses.items() if status not in (200, 429, 503))

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "statuses": dict(self.statuses), "share": self.share, "failed": self.failed}


async def measure_overload(
    url: str, *, factor: float = 3.0, seconds: float = 300.0, closed_s: float = 30.0
) -> Overload:
    """`closed_s` are the seconds of each measurement of capacity."""
    async with connect(url) as http:
        client = await Client.of(http)
        found = Overload(factor, seconds, settled_s=min(60.0, seconds / 3))
        await _small_p50_s(client)
        found.alone_p50_s = await _small_p50_s(client)
        before, rate, found.phases["capacity before"] = await _capacity(client, closed_s)
        kept = await _flood(client, rate * factor, found)
        found.recovered_p50_s = await _small_p50_s(client)
        after, _, found.phases["capacity after"] = await _capacity(client, closed_s)
        found.capacity = before, after
        for number, logits in kept.items():
            again = await client.ask(_call(number))
            found.checked += 1
            found.wrong += not np.allclose(logits, again.logits, atol=1e-4)
    return found


def _call(number: int) -> Call:
    """No two are the same: equal rows in flight are computed once, which would be a gift."""
    random = np.random.default_rng((3, number))
    return Call.make(number, int(random.choice(SIZES, p=SHARES)), WORDS)


async def _small_p50_s(client: Client) -> float:
    calls = [Call.make(1000 + seed, SIZES[0], WORDS) for seed in range(RECOVERY_CALLS)]
    return quantile([(await client.ask(call)).seconds for call in calls], 0.5)


async def _capacity(client: Client, seconds: float) -> tuple[float, float, Phase]:
    """(pairs, calls) per second of clients that wait for each answer, whole calls over the time they took; and what the
    engine did meanwhile."""
    turn = itertools.count(1_000_000)
    figures = await client.figures()
    begun = time.perf_counter()
    pairs = count = 0

    async def one() -> None:
        nonlocal pairs, count
        while time.perf_counter() - begun < seconds:
            call = _call(next(turn))
            if (await client.ask(call)).status == 200:
                pairs += call.passages
                count += 1

    await asyncio.gather(*(one() for _ in range(CLOSED_CLIENTS)))
    spent = time.perf_counter() - begun
    return pairs / spent, count / spent, Phase.between(figures, await client.figures(), spent)


async def _flood(client: Client, calls_per_s: float, found: Overload) -> dict[int, tuple[float, ...]]:
    """Send at random times, `calls_per_s` on average, whatever becomes of them; then wait for every answer.

    Gives back some of the answers: the number of the call, its logits.
    """
    random = np.random.default_rng(1)
    refusals: list[float] = []
    answers: list[float] = []
    kept: dict[int, tuple[float, ...]] = {}
    settled: dict[str, float] = {}
    begun = time.perf_counter()
    pairs = 0

    async def one(number: int) -> None:
        nonlocal pairs
        call = _call(number)
        try:
            answer = await client.ask(call)
        except httpx.TransportError as error:
            found.lost.append(f"{type(error).__name__}: {error}")
            return
        found.statuses[answer.status] += 1
        if answer.status == 200:
            answers.append(answer.seconds)
            if len(answers) % 7 == 1 and len(kept) < CHECKED:
                kept[number] = answer.logits
            if found.settled_s <= time.perf_counter() - begun < found.seconds:
                pairs += call.passages
        else:
            refusals.append(answer.seconds)
            found.bare += answer.retry_after_s is None

    async def look() -> None:
        while True:
            now = await client.resident_bytes()
            found.peak_resident_bytes = max(found.peak_resident_bytes, now)
            found.last_resident_bytes = now
            if not found.first_resident_bytes and time.perf_counter() - begun >= found.settled_s:
                found.first_resident_bytes = now
                settled.update(await client.figures())
            await asyncio.sleep(LOOK_S)

    looking = asyncio.create_task(look())
    under_way: set[asyncio.Task[None]] = set()
    due = begun
    while (due := due + random.exponential(1 / calls_per_s)) - begun < found.seconds:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(found.sent))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        found.sent += 1
    ended = time.perf_counter()
    if settled:
        found.phases["flood"] = Phase.between(settled, await client.figures(), ended - begun - found.settled_s)
    found.small_s = (await client.ask(Call.make(999, SIZES[0], WORDS))).seconds
    await asyncio.gather(*under_way)
    found.drained_s = time.perf_counter() - ended
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    found.goodput = pairs / (found.seconds - found.settled_s)
    found.refusal_p50_s, found.refusal_p99_s = quantile(refusals, 0.5), quantile(refusals, 0.99)
    found.answer_p50_s, found.answer_p99_s = quantile(answers, 0.5), quantile(answers, 0.99)
    return kept
