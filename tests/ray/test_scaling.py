"""Placement on nodes that are not alike, throughput of 1, 2 and 4 replicas, and a step of load to four times and back.

Replicas have an engine of a fixed rate (`paced.py`): what is shown is routing, queueing and the rule of autoscaling,
not computing, for which four replicas would need four cores.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from clusters import Simulated, front
from paced import TOKENS_PER_S, Paced

PASSAGES, BASE_PER_S, FACTOR = 10, 2.5, 4
BEFORE_S, STEP_S, BACK_S = 10.0, 40.0, 85.0
"""Serve takes a replica away only after DOWNSCALE_S = 60 s of less load."""

MEASURE_S, CALLERS_A_REPLICA = 12.0, 6
_numbers = itertools.count()


def body() -> dict[str, object]:
    """Words that no request had before: nothing comes from a cache."""
    number = next(_numbers)
    texts = [f"pier {number} boat {place} " + "leaves from the north at noon and " * 4 for place in range(PASSAGES)]
    return {"model": "ullage/minilm-fusion-ranker", "query": {"text": f"When does boat {number} leave?"},
            "passages": [{"text": text} for text in texts]}


class Paces:
    """Ranking with paced engines under `/paced/ranking`, in as many replicas as asked."""

    def __init__(self, simulated: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
        from ullage.settings import load
        from ullage.stack.place import place

        monkeypatch.setattr("ullage.stack.ray.deploy.Replica", Paced)
        self.settings = load({"memory": "4GiB", "state_dir": str(simulated.folder), "log_level": "WARNING"},
                             environ={}).settings
        self.planned = place(self.settings, ["ranking"])["ranking"]

    def ask_for(self, least: int, most: int) -> None:
        from ray import serve
        from ullage.stack.ray.deploy import application
        from ullage.stack.ray.replicas import Replicas

        serve.run(application(self.planned, self.settings, Replicas(least, most), 0.1), name="paced",
                  route_prefix="/paced/ranking")

    def running(self) -> int:
        from ullage.stack.ray.deploy import deployed

        [found] = [one for one in deployed() if one.service == "paced"]
        return found.replicas


@pytest.fixture(scope="module")
def paces(simulated: Simulated) -> Iterator[Paces]:
    from ray import serve

    with pytest.MonkeyPatch.context() as patched:
        yield Paces(simulated, patched)
        serve.delete("paced")


@pytest.fixture(scope="module")
def url(simulated: Simulated, paces: Paces) -> Iterator[str]:
    paces.ask_for(1, 1)
    with front("ranking", f"http://127.0.0.1:{simulated.port}/paced", simulated.folder) as where:
        yield f"{where}/v1/ranking"


def test_bytes_of_the_plan_decide_which_node_and_how_many(simulated):
    """Four nodes without a GPU and one with: replicas of a GPU plan go to that one, as many as its bytes hold."""
    import ray
    from ullage.devices import find_machine
    from ullage.settings import load
    from ullage.stack.place import place, place_one
    from ullage.stack.ray.resources import request_of

    with_gpu = simulated.nodes.add_node(num_cpus=4, num_gpus=1, memory=40 << 30, object_store_memory=80 << 20)
    simulated.nodes.wait_for_nodes()
    model = load({"ranking_model": "nvidia/llama-nemotron-rerank-1b-v2"}, service="ranking", environ={}).settings
    asked = request_of(place_one(model, "ranking", find_machine("l4-24gb"))["ranking"], 0.1)
    plain = request_of(place(load({"memory": "4GiB"}, environ={}).settings, ["ranking"])["ranking"], 0.1)

    @ray.remote
    class Where:
        def node(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

    room = int(1 / asked.gpus)
    actors = [Where.options(**asked.options()).remote() for _ in range(room + 1)]
    try:
        placed, waits = ray.wait([actor.node.remote() for actor in actors], num_returns=room, timeout=120)
        assert {ray.get(one) for one in placed} == {with_gpu.node_id}
        _, waits = ray.wait(waits, timeout=3)
        assert len(waits) == 1, "one more than fit into the GPU's bytes was placed"
        others = [Where.options(**plain.options()).remote() for _ in range(4)]
        nodes = {ray.get(actor.node.remote(), timeout=120) for actor in others}
        actors += others
    finally:
        for actor in actors:
            ray.kill(actor)
        simulated.nodes.remove_node(with_gpu)
    print(f"\na replica of {asked.gpus:.4f} GPU: {room} on the node with one, 1 waits; "
          f"4 replicas without a GPU on {len(nodes)} node(s)")


async def test_throughput_of_1_2_and_4_replicas_is_that_of_the_model(url, paces):
    passages_per_s: dict[int, float] = {}
    async with httpx.AsyncClient(timeout=120) as client:
        tokens = sum((await client.post(url, json=body())).json()["usage"].values()) // 2
        for count in (1, 2, 4):
            await asyncio.to_thread(paces.ask_for, count, count)
            await until(paces, count)
            passages_per_s[count] = await closed_loop(client, url, CALLERS_A_REPLICA * count)
    model = TOKENS_PER_S / tokens * PASSAGES
    print(f"\na request: {PASSAGES} passages, {tokens} tokens")
    for count, measured in passages_per_s.items():
        print(f"{count} replicas: {measured:.1f} passages/s, by the model {count * model:.1f} "
              f"({measured / count / model - 1:+.1%})")
    for count, measured in passages_per_s.items():
        assert abs(measured / (count * model) - 1) < 0.15


async def until(paces: Paces, count: int) -> None:
    async with asyncio.timeout(90):
        while await asyncio.to_thread(paces.running) != count:
            await asyncio.sleep(0.2)


async def closed_loop(client: httpx.AsyncClient, url: str, callers: int) -> float:
    """Passages a second of callers that ask again as soon as they are answered; the first 3 s do not count."""
    begun, done = time.monotonic(), []

    async def caller() -> None:
        while time.monotonic() - begun < MEASURE_S + 3:
            (await client.post(url, json=body())).raise_for_status()
            done.append(time.monotonic() - begun)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return sum(PASSAGES for at in done if 3 <= at < MEASURE_S + 3) / MEASURE_S


async def test_a_step_to_four_times_the_load_and_back(url, paces):
    """Requests come at even distances whatever becomes of those before them."""
    await asyncio.to_thread(paces.ask_for, 1, 1)
    await until(paces, 1)
    await asyncio.to_thread(paces.ask_for, 1, 4)
    begun = time.monotonic()
    answers: list[tuple[float, float, int]] = []
    seen: list[tuple[float, int]] = []
    whole_s = BEFORE_S + STEP_S + BACK_S

    async def ask(client: httpx.AsyncClient) -> None:
        at = time.monotonic()
        status = (await client.post(url, json=body())).status_code
        answers.append((at - begun, time.monotonic() - at, status))

    async def watch() -> None:
        while time.monotonic() - begun < whole_s:
            seen.append((time.monotonic() - begun, await asyncio.to_thread(paces.running)))
            await asyncio.sleep(0.5)

    async with httpx.AsyncClient(timeout=120) as client, asyncio.TaskGroup() as group:
        group.create_task(watch())
        while (now := time.monotonic() - begun) < whole_s:
            group.create_task(ask(client))
            fast = BEFORE_S <= now < BEFORE_S + STEP_S
            await asyncio.sleep(1 / (BASE_PER_S * (FACTOR if fast else 1)))
    report(answers, seen)
    assert {status for _, _, status in answers} == {200}
    assert max(count for _, count in seen) > 1
    assert seen[-1][1] < max(count for _, count in seen)


def report(answers: list[tuple[float, float, int]], seen: list[tuple[float, int]]) -> None:
    print(f"\n{len(answers)} requests, {sum(status != 200 for *_, status in answers)} not answered with 200")
    edges = (("before", 0.0, BEFORE_S), ("first 20 s of the step", BEFORE_S, BEFORE_S + 20),
             ("rest of the step", BEFORE_S + 20, BEFORE_S + STEP_S), ("after", BEFORE_S + STEP_S, np.inf))
    for name, start, end in edges:
        took = [seconds for at, seconds, _ in answers if start <= at < end]
        print(f"{name}: {len(took)} requests, median {np.median(took):.2f} s, p99 {np.quantile(took, 0.99):.2f} s")
    for (_, before), (at, count) in itertools.pairwise(seen):
        if count != before:
            print(f"{before} -> {count} replicas {at - BEFORE_S:+.1f} s from the step's beginning, "
                  f"{at - BEFORE_S - STEP_S:+.1f} s from its end")
