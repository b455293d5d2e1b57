"""Many people ask the RAG server at once, its models are as fast as any (`rag_stubs`): time to the first text, and
whose it is.

Server, database, models and clients share the machine; what the clients cost is in the figures. The database is a
Milvus Lite server of its own, or a Milvus server that is there, in a collection of its own. Its passages are generated,
each with a number; a question asks for one number, so a right answer can be told from a wrong one.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from ullage.bench.load import WORDS, free_port, quantile, ready_within
from ullage.bench.rag_cost import Cost, Meter
from ullage.bench.rag_stubs import DIMENSION, vectors
from ullage.errors import EngineFailed, UllageError
from ullage.store import Chunk, VectorStore

COLLECTION = "load"
PASSAGES = 2000
CANDIDATES = 100
KEPT = 10
READY_S = 120.0
ANSWER_S = 120.0
SENTENCES = 6
WRITTEN_AT_ONCE = 500
MEMORY_EVERY_S = 1.0
WARM_UP = 20
"""Questions before the first that counts: tables are read, connections made, caches filled."""

MODELS = ("embedding", "ranking", "llm")
Spent = dict[str, list[tuple[str, float, float]]]
DATABASE_STAGE = "retrieve"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question's answer. Seconds from the client's side, `first_at` on the machine's monotonic clock; `stages` in
    ms as the server tells them."""

    request: str
    status: int
    right: bool = False
    first_s: float = 0.0
    first_at: float = 0.0
    whole_s: float = 0.0
    stages: dict[str, float] = field(default_factory=dict)
    first_told_s: float = 0.0
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RagLoad:
    """`own` is what is left of the time to the first text without the models; `own_without_database` also without what
    the server has waited for its search, both in seconds. `cost` is what the processes and the machine did,
    `stages_ms` the median and p99 of each stage as the server tells it."""

    users: int
    think_s: float
    seconds: float
    answered: int
    failed: int
    wrong: int
    degraded: int
    first_text_s: tuple[float, ...]
    own_s: tuple[float, ...]
    own_without_database_s: tuple[float, ...]
    stages_ms: dict[str, tuple[float, float]]
    models_ms: dict[str, float]
    cost: Cost
    resident_bytes: tuple[int, ...]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds

    @property
    def cpu_ms(self) -> dict[str, float]:
        """Processor time of each process for an answer."""
        return {name: 1e3 * spent / max(1, self.answered) for name, spent in self.cost.cpu_s.items()}

    def as_dict(self) -> dict[str, Any]:
        series = {"first_text": self.first_text_s, "own": self.own_s,
                  "own_without_database": self.own_without_database_s}
        return {
            "users": self.users, "think_s": self.think_s, "seconds": self.seconds, "answered": self.answered,
            "answers_per_s": self.rate, "cpu_ms": self.cpu_ms, "cost": self.cost.as_dict(),
            "failed": self.failed, "wrong": self.wrong, "degraded": self.degraded,
            **{f"{name}_p{share * 100:.0f}_s": quantile(values, share)
               for name, values in series.items() for share in (0.5, 0.99)},
            "stages_p50_p99_ms": self.stages_ms, "models_p50_ms": self.models_ms,
            "resident_bytes": list(self.resident_bytes),
        }


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything is; `processes` are named for what they do."""

    rag: str
    stubs: str
    processes: dict[str, psutil.Process]


def number_of(passage: int) -> int:
    return 10_000 + passage


def question(passage: int) -> str:
    return f"How many weeks lie between two services of pump {number_of(passage)}?"


def answer_of(passage: int) -> str:
    return f"Pump {number_of(passage)} is serviced every {2 + passage % 50} weeks."


def passages(count: int) -> list[Chunk]:
    """One a document; the sentence that answers stands among others of random words."""
    random = np.random.default_rng(1)
    found = []
    for n in range(count):
        others = [f"The {' '.join(random.choice(WORDS, 14))}." for _ in range(SENTENCES - 1)]
        text = " ".join((*others[:2], answer_of(n), *others[2:]))
        found.append(Chunk(document=f"pump-{n}.txt", content_hash=f"{n:032x}", ordinal=0, text=text))
    return found


@contextmanager
def bench(*, candidates: int = CANDIDATES, kept: int = KEPT, vectors_uri: str = "") -> Iterator[Bench]:
    """A filled database, the models and `ullage serve rag`, ready. Raises EngineFailed when one does not start.

    With `vectors_uri` the database is a server that runs already, whose processor time is not told.
    """
    with ExitStack() as up:
        folder = Path(up.enter_context(tempfile.TemporaryDirectory(prefix="ullage-rag-load-")))
        ports = {name: free_port() for name in ("vectors", "stubs", "rag")}
        processes: dict[str, subprocess.Popen[bytes]] = {}
        uri = vectors_uri or f"http://127.0.0.1:{ports['vectors']}"
        if not vectors_uri:
            processes["database"] = up.enter_context(_process(
                folder, "vectors", "ullage.stack.lite_server", "--data-dir", str(folder / "vectors"),
                "--host", "127.0.0.1", "--port", str(ports["vectors"])))
        stubs = f"http://127.0.0.1:{ports['stubs']}"
        processes["models"] = up.enter_context(
            _process(folder, "stubs", "ullage.bench.rag_stubs", str(ports["stubs"])))
        _wait(stubs)
        collection = up.enter_context(_filled(uri))
        settings = {
            "VECTORS_URI": uri, "EMBEDDING_URL": stubs, "RANKING_URL": stubs, "LLM_URL": stubs,
            "COLLECTION": collection, "RETRIEVE_TOP_K": str(candidates), "RERANK_TOP_K": str(kept),
            "STATE_DIR": str(folder), "LOG_LEVEL": "WARNING",
        }
        processes["server"] = up.enter_context(_process(
            folder, "rag", "ullage", "serve", "rag", "--port", str(ports["rag"]),
            **{f"ULLAGE_{name}": value for name, value in settings.items()}))
        rag = f"http://127.0.0.1:{ports['rag']}"
        _wait(rag)
        pids = {**{name: process.pid for name, process in processes.items()}, "clients": os.getpid()}
        yield Bench(rag, stubs, {name: psutil.Process(pid) for name, pid in pids.items()})


@contextmanager
def _process(folder: Path, name: str, *module: str, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    log = folder / f"{name}.log"
    with log.open("wb") as out, subprocess.Popen(
        [sys.executable, "-m", *module], stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **settings}
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _wait(url: str) -> None:
    if not ready_within(url, READY_S):
        raise EngineFailed(f"nothing was ready at {url} within {READY_S:g} s")


@contextmanager
def _filled(uri: str) -> Iterator[str]:
    """The name of a collection with the passages, which is dropped afterwards."""
    name = f"{COLLECTION}_{secrets.token_hex(4)}"
    until = time.monotonic() + READY_S
    with closing(VectorStore(uri)) as store:
        while True:
            try:
                store.create_collection(name, embedder="stub", dimension=DIMENSION)
                break
            except UllageError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.2)
        try:
            chunks = passages(PASSAGES)
            for at in range(0, len(chunks), WRITTEN_AT_ONCE):
                part = chunks[at : at + WRITTEN_AT_ONCE]
                store.upsert(name, part, vectors([chunk.text for chunk in part]))
            store.seal(name)
            store.count(name)  # a server answers when all of it is in sight
            yield name
        finally:
            store.drop(name)


async def measure(where: Bench, *, users: int, seconds: float, think_s: float) -> RagLoad:
    """`users` ask, read the answer to its end, pause for 0 to 2 x `think_s`, and ask again, for so many seconds."""
    resident: list[int] = []
    watching = asyncio.create_task(_watch(where.processes["server"], resident))
    async with httpx.AsyncClient(timeout=ANSWER_S) as http:
        for first in range(WARM_UP):
            await ask(where.rag, first, f"warm-{first}")
        await http.get(f"{where.stubs}/spent")
        begun, meter = time.perf_counter(), Meter(where.processes)
        try:
            found = await asyncio.gather(*(_user(where.rag, user, begun + seconds, think_s) for user in range(users)))
        finally:
            watching.cancel()
        cost = meter.read()
        spent: Spent = (await http.get(f"{where.stubs}/spent")).json()
    answers = [answer for part in found for answer in part]
    return _summed(answers, spent, users, think_s, cost, resident)


async def _watch(process: psutil.Process, resident: list[int]) -> None:
    while True:
        resident.append(int(process.memory_info().rss))
        await asyncio.sleep(MEMORY_EVERY_S)


async def _user(url: str, user: int, until: float, think_s: float) -> list[Asked]:
    random = np.random.default_rng(user)
    answers: list[Asked] = []
    await asyncio.sleep(float(random.uniform(0, min(max(think_s, 0.5), until - time.perf_counter()))))
    while time.perf_counter() < until:
        answers.append(await ask(url, int(random.integers(PASSAGES)), f"{user}-{len(answers)}"))
        pause_s = float(random.uniform(0, 2 * think_s))
        await asyncio.sleep(min(pause_s, max(0.0, until - time.perf_counter())))
    return answers


async def ask(url: str, passage: int, request: str) -> Asked:
    """One question over a connection of its own, from when it is sent; read as bytes: a client library would cost as
    much as the server."""
    host, _, port = url.removeprefix("http://").partition(":")
    body = json.dumps({"messages": [{"role": "user", "content": question(passage)}]}).encode()
    head = (f"POST /v1/generate HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
            f"X-Request-Id: {request}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n").encode()
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
            begun = time.perf_counter()
            writer.write(head + body)
            try:
                status = int((await reader.readline()).split()[1])
                await reader.readuntil(b"\r\n\r\n")
                await reader.readuntil(b"data: ")
                first_at = time.perf_counter()
                rest = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, IndexError, ValueError):
        return Asked(request, 0)
    return _read(request, status, passage, begun, first_at, time.perf_counter() - begun, rest)


def _read(
    request: str, status: int, passage: int, begun: float, first_at: float, whole_s: float, rest: bytes
) -> Asked:
    # Pieces of HTTP's chunked coding stand between events, never inside one.
    pieces = [piece[: piece.rfind("}") + 1] for piece in rest.decode().split("data: ")]
    events = [json.loads(piece) for piece in pieces if piece]
    if not events:
        return Asked(request, status)
    text = "".join((event["choices"][0]["delta"] or {}).get("content") or "" for event in events)
    last = events[-1]
    told = (last.get("metrics") or {}).get("rag_ttft_ms") or 0.0
    return Asked(request, status, f"every {2 + passage % 50} weeks" in text, first_at - begun, first_at, whole_s,
                 dict(last.get("timings_ms") or {}), told / 1e3, tuple(last.get("degraded") or ()))


def _summed(
    answers: Sequence[Asked], spent: Spent, users: int, think_s: float, cost: Cost, resident: list[int]
) -> RagLoad:
    good = [answer for answer in answers if answer.status == 200 and answer.first_s]
    models = [_before_the_first_text(answer, spent) for answer in good]
    own = [answer.first_s - sum(took.values()) for answer, took in zip(good, models, strict=True)]
    searched = [answer.stages.get(DATABASE_STAGE, 0.0) / 1e3 for answer in good]
    names = sorted({name for answer in good for name in answer.stages})
    return RagLoad(
        users=users, think_s=think_s, seconds=cost.seconds, answered=len(good), failed=len(answers) - len(good),
        wrong=sum(not answer.right for answer in good), degraded=sum(bool(answer.degraded) for answer in good),
        first_text_s=tuple(answer.first_s for answer in good),
        own_s=tuple(own),
        own_without_database_s=tuple(mine - theirs for mine, theirs in zip(own, searched, strict=True)),
        stages_ms={name: (quantile([a.stages.get(name, 0.0) for a in good], 0.5),
                          quantile([a.stages.get(name, 0.0) for a in good], 0.99)) for name in names},
        models_ms={model: 1e3 * quantile([took[model] for took in models], 0.5) for model in MODELS},
        cost=cost,
        resident_bytes=tuple(resident),
    )


def _before_the_first_text(answer: Asked, spent: Spent) -> dict[str, float]:
    """Seconds by model; what they take afterwards, as for links, nobody has waited for."""
    took = dict.fromkeys(MODELS, 0.0)
    for model, ended, seconds in spent.get(answer.request, ()):
        took[model] += max(0.0, min(ended, answer.first_at) - (ended - seconds))
    return took
