"""Ranking and embedding on Ray: the same answers as without it, what the way through the proxies costs, and replicas
and nodes that go away under load."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpx
import psutil

RANKER = "ullage/minilm-fusion-ranker"
EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = ["Tea is served in the hall.", "The siren sounds on Thursday at noon.", "Boats leave from the north pier."]
BODY = {"model": RANKER, "query": {"text": "When does the siren sound?"}, "passages": [{"text": t} for t in TEXTS]}
LOAD_S, AT_ONCE, PAIRS = 40.0, 6, 60
RECOVERY_S = 90.0


def test_scores_and_vectors_are_those_of_this_process(served):
    from ullage import Reranker
    from ullage.settings import load
    from ullage.stack.place import place_one

    with Reranker(memory="700MiB") as local:
        mine = [ranked.logit for ranked in sorted(local.rank(BODY["query"]["text"], TEXTS), key=lambda r: r.index)]
    said = httpx.post(f"{served.fronts['ranking']}/v1/ranking", json=BODY, timeout=60).json()["rankings"]
    theirs = [one["logit"] for one in sorted(said, key=lambda one: one["index"])]
    print(f"\nlargest difference of a score: {max(abs(a - b) for a, b in zip(mine, theirs, strict=True)):.2e}")
    assert max(abs(a - b) for a, b in zip(mine, theirs, strict=True)) < 1e-4
    assert place_one(load({}, service="ranking", environ={}).settings, "ranking")["ranking"].card.name == RANKER


def test_every_dialect_passes(served):
    url = served.fronts["ranking"]
    with httpx.Client(timeout=60) as client:
        for path, body in (("/v1/rerank", {"query": "siren", "documents": TEXTS}),
                           ("/v2/rerank", {"query": "siren", "documents": TEXTS, "top_n": 1}),
                           ("/rerank", {"query": "siren", "texts": TEXTS}),
                           ("/v1/retrieval/ullage/minilm-fusion-ranker/reranking", BODY)):
            answer = client.post(url + path, json=body)
            assert answer.status_code == 200, (path, answer.text)
            assert answer.headers["x-ullage-replica"]
        assert client.get(url + "/v1/models").json()["data"][0]["id"] == RANKER
        assert client.post(url + "/v1/ranking", json={**BODY, "model": "nobody"}).status_code == 404
        long = {**BODY, "passages": [{"text": "charging " * 700}], "truncate": "NONE"}
        refused = client.post(url + "/v1/ranking", json=long)
        assert refused.status_code == 422
        assert "exceeds maximum allowed" in refused.text
        embedded = client.post(served.fronts["embedding"] + "/v1/embeddings",
                               json={"model": EMBEDDER, "input": ["a", "b"], "input_type": "query"}).json()
        assert [len(one["embedding"]) for one in embedded["data"]] == [384, 384]


def test_public_clients_pass_through_the_proxy(served):
    import openai
    from langchain_core.documents import Document
    from langchain_nvidia_ai_endpoints import NVIDIARerank

    with openai.OpenAI(base_url=f"{served.fronts['embedding']}/v1", api_key="none", max_retries=0) as client:
        assert len(client.embeddings.create(model=EMBEDDER, input=["a", "b"]).data) == 2
    reranker = NVIDIARerank(base_url=f"{served.fronts['ranking']}/v1", api_key="none", model=RANKER, top_n=1)
    [best] = reranker.compress_documents(query=BODY["query"]["text"],
                                         documents=[Document(page_content=t) for t in TEXTS])
    assert best.page_content == TEXTS[1]


async def test_replicas_stay_inside_their_bytes(served):
    """Ray's worker around them included, with the queue never empty."""
    texts = [{"text": f"Boat {place} leaves from the northern pier at noon. " * 12} for place in range(40)]

    async def ask(client: httpx.AsyncClient, number: int) -> int:
        body = {"model": RANKER, "query": {"text": f"When does boat {number} leave?"}, "passages": texts}
        return (await client.post(f"{served.fronts['ranking']}/v1/ranking", json=body)).status_code

    async with httpx.AsyncClient(timeout=300) as client:
        for number in range(0, 24, 6):
            answers = await asyncio.gather(*(ask(client, number + other) for other in range(6)))
            assert answers == [200] * 6
        for _ in range(8):  # of whichever replica answers
            memory = (await client.get(f"{served.fronts['ranking']}/v1/memory")).json()
            print(f"\n{memory['resident_bytes'] >> 20} MiB of {memory['planned_bytes'] >> 20} planned")
            assert memory["watched"]
            assert memory["resident_bytes"] <= memory["planned_bytes"] * 1.05
            assert memory["events"]["holds"] == memory["events"]["over_ceiling"] == 0


def test_what_the_proxies_add_is_printed(served):
    """Answered by a replica at once, without any compute: what is left is the way."""
    urls = {"front and proxy": f"{served.fronts['ranking']}/v1/models", "proxy": f"{served.proxy}/ranking/v1/models",
            "front alone": f"{served.fronts['ranking']}/v1/health/live"}
    took: dict[str, list[float]] = {name: [] for name in urls}
    with httpx.Client(timeout=60) as client:
        for _ in range(PAIRS):
            for name, url in urls.items():
                begun = time.perf_counter()
                assert client.get(url).status_code == 200
                took[name].append((time.perf_counter() - begun) * 1e3)
    print()
    for name, all_ms in took.items():
        p99 = statistics.quantiles(all_ms, n=100)[98]
        print(f"{name}: median {statistics.median(all_ms):.1f} ms, p99 {p99:.1f} ms of {len(all_ms)}")
    assert min(took["front and proxy"]) > 0


def replicas() -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"])
            if (process.info["cmdline"] or [""])[0].startswith("ray::ServeReplica:ranking")]


def with_most_replicas(nodes: Iterable[Any]) -> tuple[Any, int]:
    """A node whose raylet has started most of them; the head, which cannot be taken away, may have the others."""
    parents = Counter(replica.ppid() for replica in replicas())
    held = {node: parents[node.all_processes["raylet"][0].process.pid] for node in nodes}
    return max(held.items(), key=lambda item: item[1])


async def test_a_killed_replica_and_a_removed_node_fail_no_request(served):
    """`kill -9` of a replica a quarter of the way, a node with a replica taken away after three quarters."""
    url = f"{served.fronts['ranking']}/v1/ranking"
    failed: list[str] = []
    answered: list[tuple[float, float, str]] = []
    begun = time.monotonic()
    events: dict[str, float] = {}

    def recovered_s(event: str) -> float | None:
        """Seconds until a replica answered that had not answered before; None when none did."""
        at = events[event]
        before = {name for when, _, name in answered if when < at}
        return min((when - at for when, _, name in answered if when > at and name not in before), default=None)

    def over() -> bool:
        spent_s = time.monotonic() - begun
        return spent_s > LOAD_S + RECOVERY_S or (
            spent_s > LOAD_S and harming.done() and None not in map(recovered_s, events))

    async def caller(client: httpx.AsyncClient) -> None:
        while not over():
            started = time.monotonic()
            try:
                answer = await client.post(url, json=BODY)
            except httpx.HTTPError as error:
                failed.append(repr(error))
                continue
            if answer.status_code != 200:
                failed.append(f"{answer.status_code} {answer.text[:200]}")
            now = time.monotonic()
            answered.append((now, now - started, answer.headers.get("x-ullage-replica", "")))

    async def harm() -> None:
        await asyncio.sleep(LOAD_S / 4)
        os.kill(replicas()[0].pid, signal.SIGKILL)
        events["kill -9"] = time.monotonic()
        await asyncio.sleep(LOAD_S / 2)
        node, held = with_most_replicas(served.cluster.worker_nodes)
        await asyncio.to_thread(served.cluster.remove_node, node, False)
        if held:
            events[f"node with {held} of the replicas removed"] = time.monotonic()
        else:
            print("\nthe node that was removed held no replica: both are on the head")

    async with httpx.AsyncClient(timeout=120) as client:
        harming = asyncio.create_task(harm())
        await asyncio.gather(harming, *(caller(client) for _ in range(AT_ONCE)))
    figures = (await asyncio.to_thread(httpx.get, f"{served.fronts['ranking']}/v1/metrics", timeout=30)).text
    retried = [line for line in figures.splitlines() if line.startswith("ullage_front_retried_total")]
    longest_s = max(seconds for _, seconds, _ in answered)
    print(f"\n{len(answered)} requests, {len(failed)} failed; {retried}; longest {longest_s:.2f} s")
    for event in events:
        print(f"{event}: a new replica answered after {recovered_s(event)} s")
    assert not failed, failed[:3]
    assert None not in map(recovered_s, events)
    assert len(answered) > 50
