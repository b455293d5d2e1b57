"""Clients that go away, and a service that is told to: no work is left behind, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np

from ullage.bench.load import Answer, Call, Client, Service, connect
from ullage.errors import EngineFailed

WORDS = (60, 200)
AT_ONCE = 100
LEAVE_S = (0.2, 2.0)
STILL_S = 2.0
IDLE_S = 120.0
TOKENS = "ullage_scheduler_tokens_total"
QUEUED, RUNNING = "ullage_scheduler_queued_tokens", "ullage_scheduler_running_tokens"
REFUSED = ("ullage_scheduler_refused_total", "ullage_bodies_refused_total")


@dataclass(frozen=True, slots=True)
class Left:
    """What `clients` calls would have cost, what was computed of it, and when it stopped.

    `idle_s` are seconds from the last disconnect until nothing was queued or running; `later_tokens` what was computed
    in the seconds after that; `held_bytes` are request bodies still counted.
    """

    clients: int
    asked_tokens: int
    computed_tokens: int
    abandoned: int
    refused: int
    idle_s: float
    later_tokens: int
    held_bytes: int
    answered_afterwards: int


async def measure_left(url: str, *, clients: int = 1000) -> Left:
    """Every client sends a call of 20 passages whole and closes its connection before an answer can be there."""
    random = np.random.default_rng(2)
    calls = [Call.make(seed, 20, WORDS) for seed in range(40)]
    where = urlsplit(url)
    async with connect(url) as http:
        client = await Client.of(http)
        before = await client.figures()
        for call in calls:
            await client.ask(call)
        each = ((await client.figures())[TOKENS] - before[TOKENS]) / len(calls)
        start = await client.figures()
        room = asyncio.Semaphore(AT_ONCE)

        async def leave(call: Call, after_s: float) -> None:
            async with room:
                _, writer = await asyncio.open_connection(where.hostname, where.port)
                body = client.body(call)
                writer.write(b"POST /v1/ranking HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                             b"Content-Length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
                await asyncio.sleep(after_s)
                writer.close()
                await writer.wait_closed()

        await asyncio.gather(*(leave(calls[n % len(calls)], random.uniform(*LEAVE_S)) for n in range(clients)))
        ended = time.perf_counter()
        now = await _idle(client)
        idle_s = time.perf_counter() - ended
        await asyncio.sleep(STILL_S)
        later = await client.figures()
        answers = [await client.ask(call) for call in calls[:5]]
    return Left(
        clients, round(clients * each), round(now[TOKENS] - start[TOKENS]),
        round(now["ullage_scheduler_abandoned_total"] - start["ullage_scheduler_abandoned_total"]),
        round(sum(now[name] - start[name] for name in REFUSED)), idle_s, round(later[TOKENS] - now[TOKENS]),
        round(later["ullage_bodies_held_bytes"]), sum(len(answer.logits) == 20 for answer in answers),
    )


async def _idle(client: Client) -> dict[str, float]:
    """The figures once nothing is queued or running. Raises EngineFailed after IDLE_S."""
    until = time.perf_counter() + IDLE_S
    while time.perf_counter() < until:
        now = await client.figures()
        if not now[QUEUED] and not now[RUNNING]:
            return now
        await asyncio.sleep(0.02)
    raise EngineFailed(f"{now[QUEUED]:.0f} tokens are still queued {IDLE_S:g} s after the last client left")


@dataclass(slots=True)
class Drained:
    """What became of the calls that were under way when SIGTERM came.

    `accepted_tokens` were queued or running at that time. `lost` had no answer; `seconds` are those to the end of the
    process, `exit_code` its.
    """

    sent: int
    accepted_tokens: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    wrong: int = 0
    seconds: float = 0.0
    exit_code: int | None = None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "statuses": dict(self.statuses)}


async def measure_drained(service: Service, *, clients: int = 100, wait_s: float = 300.0) -> Drained:
    """Stops the service. Every client has sent one call of 40 passages and waits when SIGTERM comes."""
    kinds = [Call.make(seed, 40, WORDS) for seed in range(10)]
    async with connect(service.url) as http:
        client = await Client.of(http)
        alone = [await client.ask(call) for call in kinds]
        found = Drained(clients)
        asked = [asyncio.create_task(client.ask(kinds[n % len(kinds)])) for n in range(clients)]
        await _until_admitted(client, asked)
        figures = await client.figures()
        found.accepted_tokens = round(figures[QUEUED] + figures[RUNNING])
        begun = time.perf_counter()
        ending = asyncio.create_task(asyncio.to_thread(service.terminate, wait_s))
        for number, answer in enumerate(await asyncio.gather(*asked, return_exceptions=True)):
            if isinstance(answer, Answer):
                found.statuses[answer.status] += 1
                same = answer.status != 200 or np.allclose(answer.logits, alone[number % len(kinds)].logits, atol=1e-4)
                found.wrong += not same
            elif isinstance(answer, httpx.TransportError):
                found.lost.append(f"{type(answer).__name__}: {answer}")
            else:
                raise answer
        found.exit_code = await ending
        found.seconds = time.perf_counter() - begun
    return found


async def _until_admitted(client: Client, asked: list[asyncio.Task[Answer]]) -> None:
    """Until the queue grows no more: every call is in it, or was refused."""
    last, since = -1.0, time.perf_counter()
    until = since + IDLE_S
    while time.perf_counter() - since < 1.0:
        now = (await client.figures())[QUEUED]
        if now > last:
            last, since = now, time.perf_counter()
        if time.perf_counter() > until or all(task.done() for task in asked):
            raise EngineFailed("the calls were answered before SIGTERM could be sent: give more clients")
        await asyncio.sleep(0.05)
