"""Many clients that send the largest ranking requests without mercy, and what became of each."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import numpy as np
import psutil

WORDS = ("pump valve pressure harbour evacuation the of and is maintenance siren lifejacket tested monthly boat engine "
         "oil crew deck rope anchor").split()
PASSAGES = 512
PAUSE_S = 0.1
"""After a refusal. Retry-After asks for more; this flood does not listen."""


@dataclass(frozen=True)
class Body:
    """One request; `words` a passage are more than its tokens may be, so every row is of the maximum length."""

    raw: bytes

    @classmethod
    def make(cls, seed: int, words: int) -> Body:
        rng = np.random.default_rng(seed)
        passages = [{"text": " ".join(rng.choice(WORDS, words))} for _ in range(PASSAGES)]
        return cls(json.dumps({"model": "ullage/minilm-fusion-ranker", "query": {"text": "when are sirens tested?"},
                               "passages": passages, "truncate": "END"}).encode())


@dataclass
class Flood:
    """`statuses` counts every answer, `lost` the requests without one, `wrong` the answers with other scores.

    `bare` are refusals that do not say when to come back; `peak_bytes` is the highest resident memory seen.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: int = 0
    bare: int = 0
    peak_bytes: int = 0
    seconds: float = 0.0


async def scores(client: httpx.AsyncClient, body: Body) -> tuple[httpx.Response, list[float]]:
    answer = await client.post("/v1/ranking", content=body.raw, headers={"content-type": "application/json"})
    if answer.status_code != 200:
        return answer, []
    ranked = sorted(answer.json()["rankings"], key=lambda item: item["index"])
    return answer, [item["logit"] for item in ranked]


async def flood(url: str, pid: int, bodies: list[Body], *, clients: int, seconds: float) -> Flood:
    """Score each body alone, then let `clients` send them for `seconds`; wait for every answer."""
    seen = Flood()
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=httpx.Limits(max_connections=None)) as client:
        before = [await scores(client, body) for body in bodies]
        alone = [found for _, found in before]
        assert all(len(found) == PASSAGES for found in alone), [(a.status_code, a.text[:300]) for a, _ in before]
        begun = time.monotonic()

        async def send(number: int) -> None:
            turn = number
            while time.monotonic() - begun < seconds:
                which = turn % len(bodies)
                turn += 1
                try:
                    answer, found = await scores(client, bodies[which])
                except httpx.HTTPError as error:
                    seen.lost.append(f"{type(error).__name__}: {error}")
                    continue
                seen.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    seen.wrong += not np.allclose(found, alone[which], atol=1e-4)
                else:
                    seen.bare += not answer.headers.get("retry-after", "").isdigit()
                    await asyncio.sleep(PAUSE_S)

        async def look() -> None:
            process = psutil.Process(pid)
            while True:
                seen.peak_bytes = max(seen.peak_bytes, process.memory_info().rss)
                await asyncio.sleep(0.05)

        looking = asyncio.create_task(look())
        await asyncio.gather(*(send(number) for number in range(clients)))
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        seen.peak_bytes = max(seen.peak_bytes, (await client.get("/v1/memory")).json()["peak_bytes"])
    seen.seconds = time.monotonic() - begun
    return seen
