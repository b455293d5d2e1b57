"""How long a small client waits beside one that sends 512 passages back to back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ullage.bench.load import Call, Client, connect, counted, quantile
from ullage.errors import EngineFailed

SMALL, LARGE = 5, 512
WORDS = (60, 200)
WARM_UP = 10
SETTLE_S = 3.0
"""Until the large call is surely being computed."""


@dataclass(frozen=True, slots=True)
class Fairness:
    """Seconds of `calls` calls of 5 passages, one after the other, alone and beside the large client.

    `batch_s` is the mean compute of a batch while both ran.
    """

    calls: int
    unloaded_p50_s: float
    unloaded_p99_s: float
    loaded_p50_s: float
    loaded_p99_s: float
    batch_s: float
    large_answers: int

    @property
    def bound_s(self) -> float:
        """Three times the p99 alone and one batch."""
        return 3 * self.unloaded_p99_s + self.batch_s

    @property
    def holds(self) -> bool:
        return self.loaded_p99_s <= self.bound_s


async def measure_fairness(url: str, *, calls: int = 200) -> Fairness:
    """Raises EngineFailed when a call is not answered: nothing is refused at this load."""
    async with connect(url) as http:
        client = await Client.of(http)
        small = [Call.make(seed, SMALL, WORDS) for seed in range(calls)]
        large = Call.make(calls, LARGE, WORDS)
        for call in small[:WARM_UP]:
            await _seconds(client, call)
        unloaded = [await _seconds(client, call) for call in small]
        answered = 0

        async def back_to_back() -> None:
            nonlocal answered
            while True:
                await _seconds(client, large)
                answered += 1

        loading = asyncio.create_task(back_to_back())
        try:
            await asyncio.sleep(SETTLE_S)
            before = await client.figures()
            loaded = [await _seconds(client, call) for call in small]
            after = await client.figures()
            if loading.done():
                loading.result()
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
    spent, batches = counted(before, after, "compute_seconds", "batches")
    return Fairness(calls, quantile(unloaded, 0.5), quantile(unloaded, 0.99), quantile(loaded, 0.5),
                    quantile(loaded, 0.99), spent / max(1.0, batches), answered)


async def _seconds(client: Client, call: Call) -> float:
    answer = await client.ask(call)
    if answer.status != 200 or len(answer.logits) != call.passages:
        raise EngineFailed(f"a call of {call.passages} passages was answered {answer.status}")
    return answer.seconds
