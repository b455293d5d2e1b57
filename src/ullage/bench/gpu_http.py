"""The ranking service on a GPU over HTTP, under many clients at once, against its own engine on the same tokens."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import tokenizers
from tokenizers import models, pre_tokenizers, processors, trainers

from ullage.bench.gpu import MAX_SEQUENCE, MAX_TOKENS, MIXED_SPREAD, Say, wall_seconds
from ullage.bench.gpu_checkpoint import one_billion
from ullage.engines.base import Batch, Row
from ullage.models.tokenize import Tokenizer
from ullage.plan import Profile
from ullage.plan.packed import packed_gpu_ledger

CLIENTS, PASSAGES, SECONDS = 32, 100, 20.0
MEAN_TOKENS, LONGEST_TOKENS = 200, 512
QUEUE_TOKENS = 2_000_000
"""Room for every client's call at once; by default a service refuses what it cannot do soon."""

BOS = "<|begin_of_text|>"
VOCABULARY = 16384
TRAINING_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class HttpReport:
    """`start_s` is from the process's start to its first ready answer; `engine_rows_per_s` without HTTP."""

    profile: str
    start_s: float
    rows_per_s: float
    engine_rows_per_s: float
    calls: int
    failures: int
    p50_s: float
    p99_s: float

    @property
    def share(self) -> float:
        return self.rows_per_s / self.engine_rows_per_s


def measure_http(folder: Path, cache_dir: Path, say: Say, *, precision: str = "bf16") -> HttpReport:
    """`folder` holds the checkpoint; a tokenizer is trained into it, if it has none."""
    if not (folder / "tokenizer.json").is_file():
        say("training a tokenizer on the standard library")
        write_tokenizer(folder / "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    calls = [_call(tokenizer, seed) for seed in range(CLIENTS)]
    url = f"http://127.0.0.1:{_free_port()}"
    environment = os.environ | {
        "ULLAGE_CACHE_DIR": str(cache_dir), "ULLAGE_QUEUE_TOKENS": str(QUEUE_TOKENS), "ULLAGE_PRECISION": precision,
        "ULLAGE_LOG_LEVEL": "WARNING", "ULLAGE_MAX_BATCH_TOKENS": str(MAX_TOKENS), "ULLAGE_RANKING_DEVICE": "cuda",
    }  # fmt: skip
    command = [sys.executable, "-m", "ullage", "serve", "ranking", "--port", url.rpartition(":")[2], "--model",
               str(folder)]
    for attempt in ("first", "second"):
        begun = time.perf_counter()
        with subprocess.Popen(command, env=environment) as server:
            try:
                profile = _wait_ready(url, server)
                start_s = time.perf_counter() - begun
                say(f"{attempt} start to ready: {start_s:.1f} s")
                if attempt == "first":
                    continue
                times, failures, span_s = asyncio.run(_flood(url, calls))
            finally:
                server.terminate()
    rows_per_s = len(times) * PASSAGES / span_s
    own = _engine_rate(folder, cache_dir, calls, precision)
    return HttpReport(profile, start_s, rows_per_s, own, len(times), failures, float(np.median(times)),
                      float(np.quantile(times, 0.99)))


def write_tokenizer(path: Path) -> None:
    """A byte-level BPE that puts BOS before a text, trained on what every Python brings."""
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[BOS], show_progress=False)
    made.train_from_iterator(_texts(), trainer)
    made.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    made.save(str(path))


def _texts() -> list[str]:
    found, size = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        found.append(path.read_text(encoding="utf-8", errors="replace"))
        size += len(found[-1])
        if size > TRAINING_BYTES:
            break
    return found


def _call(tokenizer: tokenizers.Tokenizer, seed: int) -> dict[str, object]:
    """A ranking request of random words."""
    random = np.random.default_rng(seed)
    words = sorted(piece[1:] for piece in tokenizer.get_vocab() if piece.startswith("Ġ") and piece[1:].isalpha())

    def text(length: int) -> str:
        return " ".join(random.choice(words, length))

    lengths = np.clip(np.exp(random.normal(np.log(MEAN_TOKENS), MIXED_SPREAD, PASSAGES)), 16, LONGEST_TOKENS)
    return {"model": "any", "truncate": "END", "query": {"text": text(12)},
            "passages": [{"text": text(int(length))} for length in lengths]}


def _wait_ready(url: str, server: subprocess.Popen[bytes], seconds: float = 120.0) -> str:
    """The profile that the service names once it is ready. Raises RuntimeError when it ended instead."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if server.poll() is not None:
            raise RuntimeError(f"the service ended with {server.returncode}")
        try:
            if httpx.get(f"{url}/v1/health/ready", timeout=5).status_code == 200:
                return str(httpx.get(f"{url}/v1/memory", timeout=30).json().get("profile"))
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"the service was not ready within {seconds:g} s")


async def _flood(url: str, calls: Sequence[dict[str, object]]) -> tuple[list[float], int, float]:
    """Seconds of the calls that were answered, how many failed, and how long all of it took."""
    times: list[float] = []
    failures = 0
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=len(calls))) as client:
        listed = (await client.get(f"{url}/v1/models")).json()["data"][0]["id"]

        async def one(call: dict[str, object], until: float) -> None:
            nonlocal failures
            while time.perf_counter() < until:
                begun = time.perf_counter()
                answer = await client.post(f"{url}/v1/ranking", json=call | {"model": listed})
                if answer.status_code == 200 and len(answer.json()["rankings"]) == PASSAGES:
                    times.append(time.perf_counter() - begun)
                else:
                    failures += 1

        await asyncio.gather(*(one(call, time.perf_counter() + 2) for call in calls))
        times.clear()
        begun = time.perf_counter()
        await asyncio.gather(*(one(call, begun + SECONDS) for call in calls))
        return times, failures, time.perf_counter() - begun


def _engine_rate(folder: Path, cache_dir: Path, calls: Sequence[dict[str, object]], precision: str) -> float:
    """Rows per second of the engine alone, over the tokens that the service made of the calls."""
    from ullage.engines.cuda_packed.engine import PackedEngine

    card = one_billion()
    tokenizer = Tokenizer.of(card, folder / "tokenizer.json")
    rows: list[Row] = []
    for call in calls[:8]:
        query, passages = call["query"], call["passages"]
        assert isinstance(query, dict)
        assert isinstance(passages, list)
        made = tokenizer.encode_pairs(query["text"], [passage["text"] for passage in passages])
        rows += [Row(tokens.ids) for tokens in made]
    profile = Profile("cuda", precision, MAX_TOKENS, MAX_SEQUENCE)
    ledger = packed_gpu_ledger(card, profile)
    engine = PackedEngine(card, profile, folder, cache_dir=cache_dir, index=0, limit_bytes=ledger.total - ledger.fixed)
    engine.load()
    try:
        batch = Batch.lay(rows)
        return len(rows) / wall_seconds(lambda: engine.run(batch))
    finally:
        engine.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
