"""The ranking service on a GPU over HTTP, under many clients at once, against its own engine on the same tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ullage.bench.gpu import MAX_TOKENS, Say, apart, open_engine, wall_seconds
from ullage.bench.gpu_checkpoint import one_billion
from ullage.bench.gpu_service import PASSAGES, RankingProcess, calls_of, flood, tokenizer_in
from ullage.engines.base import Batch, Row
from ullage.models.tokenize import Tokenizer

CLIENTS, SECONDS = 32, 15.0
QUEUE_TOKENS = 2_000_000
"""Room for every client's call at once; by default a service refuses what it cannot do soon."""

ENGINE_CALLS = 8


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
    """`folder` holds the checkpoint. The service is started twice: the second start finds its kernels compiled."""
    calls = calls_of(tokenizer_in(folder), CLIENTS)
    settings = {"queue_tokens": QUEUE_TOKENS, "precision": precision, "max_batch_tokens": MAX_TOKENS}
    with RankingProcess(folder, cache_dir, **settings) as service:
        say(f"{precision}, first start to ready: {service.start_s:.1f} s")
    with RankingProcess(folder, cache_dir, **settings) as service:
        say(f"{precision}, second start to ready: {service.start_s:.1f} s")
        found = asyncio.run(flood(service.url, calls, SECONDS))
    own = apart(_engine_rate, folder, cache_dir, calls[:ENGINE_CALLS], precision)
    report = HttpReport(service.profile, service.start_s, found.rows_per_s, own, len(found.times), len(found.failures),
                        float(np.median(found.times)), float(np.quantile(found.times, 0.99)))
    say(str(report))
    return report


def _engine_rate(folder: Path, cache_dir: Path, calls: Sequence[dict[str, object]], precision: str) -> float:
    """Rows per second of the engine alone, over the tokens that the service made of the calls."""
    card = one_billion()
    tokenizer = Tokenizer.of(card, folder / "tokenizer.json")
    rows: list[Row] = []
    for call in calls:
        query, passages = call["query"], call["passages"]
        assert isinstance(query, dict)
        assert isinstance(passages, list)
        made = tokenizer.encode_pairs(query["text"], [passage["text"] for passage in passages])
        rows += [Row(tokens.ids) for tokens in made]
    engine = open_engine(folder, cache_dir, card, precision)
    engine.load()
    batch = Batch.lay(rows)
    seconds = wall_seconds(lambda: engine.run(batch))
    engine.close()
    return len(calls) * PASSAGES / seconds
