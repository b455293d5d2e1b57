"""Passages a second of 1, 2, 4 ... ranking replicas on Ray, each with its own threads, beside one service without Ray.

The model is that of `capacity`: so many times one. Callers, front, proxy and replicas share the machine, so that it
needs more cores than the replicas have.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ullage.bench.load import Call, Client, connect, free_port, own_service, quantile
from ullage.errors import EngineFailed, SettingsError
from ullage.settings import Settings
from ullage.stack.place import place
from ullage.stack.ray.cluster import LOCAL, joined
from ullage.stack.ray.deploy import application, deployed, start_serve
from ullage.stack.ray.replicas import Replicas

PASSAGES, WORDS = 40, (20, 300)
CALLERS = 4
"""For each replica: one is served, one waits, and two are on their way."""

WARM_S, READY_S = 4.0, 120.0


@dataclass(frozen=True, slots=True)
class Flow:
    """What callers got who ask again as soon as they are answered."""

    passages_per_s: float
    p50_s: float
    p99_s: float
    failed: int


@dataclass(frozen=True, slots=True)
class Scaled:
    """`flows` by number of replicas; `alone` is the same service without Ray."""

    cpus: int
    alone: Flow
    flows: dict[int, Flow]

    def off(self, replicas: int) -> float:
        """Of the model, as a share."""
        return self.flows[replicas].passages_per_s / (replicas * self.alone.passages_per_s) - 1

    def as_dict(self) -> dict[str, Any]:
        flows = {str(count): asdict(flow) | {"off": self.off(count)} for count, flow in self.flows.items()}
        return {"cores": os.cpu_count(), "cpus": self.cpus, "alone": asdict(self.alone), "replicas": flows}


def scale(settings: Settings, counts: Sequence[int], *, cpus: int, seconds: float) -> Scaled:
    """Measure without Ray, then with so many replicas.

    Raises SettingsError where the machine has no core left beside the replicas, EngineFailed when one does not start.
    """
    needed, there = max(counts) * cpus, os.cpu_count() or 1
    if needed >= there:
        raise SettingsError(f"{max(counts)} replicas of {cpus} cores need {needed}, callers and proxy one more: this "
                            f"machine has {there}; lower --replicas or --replica-cpus")
    planned = place(settings, ["ranking"])["ranking"]
    with own_service({"ULLAGE_THREADS": str(cpus)}) as service:
        alone = asyncio.run(_flow(service.url, CALLERS, seconds))
    flows, port = {}, free_port()
    with joined(LOCAL):
        from ray import serve

        start_serve(local=True, port=port)
        for count in counts:
            serve.run(application(planned, settings, Replicas(count, count), cpus), name="ranking",
                      route_prefix="/ranking")
            _wait(count)
            front = ("ullage.stack.ray.serve_front", "ranking", f"http://127.0.0.1:{port}")
            with own_service(module=front) as service:
                flows[count] = asyncio.run(_flow(service.url, CALLERS * count, seconds))
    return Scaled(cpus, alone, flows)


def _wait(count: int) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        if [one.replicas for one in deployed()] == [count]:
            return
        time.sleep(0.2)
    raise EngineFailed(f"{count} replicas were not ready within {READY_S:g} s: {deployed()}")


async def _flow(url: str, callers: int, seconds: float) -> Flow:
    numbers = itertools.count()
    done: list[tuple[float, float, int]] = []
    async with connect(url) as http:
        client = await Client.of(http)
        begun = time.monotonic()

        async def call_again() -> None:
            while time.monotonic() - begun < WARM_S + seconds:
                answer = await client.ask(Call.make(next(numbers), PASSAGES, WORDS))
                done.append((time.monotonic() - begun, answer.seconds, answer.status))

        await asyncio.gather(*(call_again() for _ in range(callers)))
    counted = [(took, status) for at, took, status in done if WARM_S <= at < WARM_S + seconds]
    times = [took for took, status in counted if status == 200]
    return Flow(len(times) * PASSAGES / seconds, quantile(times, 0.5), quantile(times, 0.99), len(counted) - len(times))
