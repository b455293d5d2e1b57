"""Several GPUs of one machine behind one scheduler: rows per second with one of them and with all, in one run; and what
happens to rows when one of them fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ullage.bench.gpu import MAX_TOKENS, Say, apart, tell
from ullage.bench.gpu_service import LONGEST_TOKENS, MEAN_TOKENS, PASSAGES, SPREAD
from ullage.devices import detect
from ullage.engines.base import Batch, Float32, Output, Row
from ullage.errors import EngineFailed, SettingsError
from ullage.models.resolve import resolve
from ullage.plan import plan_service
from ullage.serve.encoder import Encoder
from ullage.settings import Settings

CALLERS = 24
"""For each GPU; each submits `PASSAGES` rows again and again."""

WARM_S, SECONDS = 2.0, 10.0
QUEUE_TOKENS = 8_000_000
SOUND_BATCHES = 20
"""Before the GPU fails that shall fail."""


@dataclass(frozen=True, slots=True)
class DevicesReport:
    """`alone` and `together` are rows per second with one GPU and with `devices`; `after_loss` is how the rows of a
    run went in which the last one failed."""

    profile: str
    devices: int
    alone: float
    together: float
    after_loss: dict[str, int]

    @property
    def ratio(self) -> float:
        return self.together / self.alone


def measure_devices(folder: Path, cache_dir: Path, say: Say, *, precision: str = "bf16") -> DevicesReport:
    """`folder` holds the checkpoint. Raises SettingsError where there is one GPU only."""
    count = apart(_count)
    if count < 2:
        raise SettingsError(f"--parts=devices needs two GPUs, this machine has {count}")
    profile, alone = apart(_flooded, folder, cache_dir, precision, 1)
    say(f"{precision}, one GPU: {alone:.0f} rows/s")
    profile, together = apart(_flooded, folder, cache_dir, precision, count)
    say(f"{precision}, {count} GPUs: {together:.0f} rows/s, {together / alone:.2f} x")
    report = DevicesReport(profile, count, alone, together, apart(_with_loss, folder, cache_dir, precision, count))
    say(f"{precision}, the last of {count} GPUs fails: {report.after_loss}")
    return report


def _count() -> int:
    return len(detect().gpus)


def _flooded(folder: Path, cache_dir: Path, precision: str, count: int) -> tuple[str, float]:
    async def measured() -> tuple[str, float]:
        encoder = _encoder(folder, cache_dir, precision, count)
        await encoder.start()
        try:
            calls = calls_for(encoder.card.shape.vocab, CALLERS * count)
            await flood(encoder, calls, WARM_S)
            before, begun = encoder.scheduler.counters.rows, time.perf_counter()
            await flood(encoder, calls, SECONDS)
            rows = encoder.scheduler.counters.rows - before
            return encoder.profile.id, rows / (time.perf_counter() - begun)
        finally:
            await encoder.close()

    return asyncio.run(measured())


def _with_loss(folder: Path, cache_dir: Path, precision: str, count: int) -> dict[str, int]:
    """A run in which the last engine raises from some batch on: rows answered, rows that failed, engines taken out."""

    async def measured() -> dict[str, int]:
        encoder = _encoder(folder, cache_dir, precision, count)
        await encoder.start()
        try:
            fail_after(encoder, SOUND_BATCHES)
            answered, failed = await flood(encoder, calls_for(encoder.card.shape.vocab, CALLERS * count), WARM_S)
            for device in encoder.scheduler.devices:
                tell(f"{device.name}: {device.state} {device.reason}")
            return {"calls_answered": answered, "calls_failed": failed,
                    "devices_lost": encoder.scheduler.counters.devices_lost}
        finally:
            await encoder.close()

    return asyncio.run(measured())


def _encoder(folder: Path, cache_dir: Path, precision: str, count: int) -> Encoder:
    """As `ullage serve ranking` makes it, on so many GPUs."""
    settings = Settings(
        ranking_device=",".join(f"cuda:{gpu.index}" for gpu in detect().gpus[:count]), precision=precision,
        max_batch_tokens=MAX_TOKENS, queue_tokens=QUEUE_TOKENS, cache_dir=cache_dir,
    )
    return Encoder(settings, plan_service("ranking", resolve(str(folder), "ranking"), settings, detect())["ranking"],
                   cap=True)


def fail_after(encoder: Encoder, batches: int) -> None:
    """Let the last engine fail after so many batches, and from then on."""
    engine = encoder.scheduler.devices[-1].engine
    run, left = engine.run, iter(range(batches))

    def failing(batch: Batch) -> Output:
        if next(left, None) is None:
            raise EngineFailed("made to fail")
        return run(batch)

    engine.run = failing  # type: ignore[method-assign]


def calls_for(vocab: int, callers: int) -> list[list[Row]]:
    """`PASSAGES` mixed rows for each caller, the same in every run."""
    return [_rows(np.random.default_rng(seed), vocab) for seed in range(callers)]


def _rows(random: np.random.Generator, vocab: int) -> list[Row]:
    lengths = np.clip(np.exp(random.normal(np.log(MEAN_TOKENS), SPREAD, PASSAGES)), 16, LONGEST_TOKENS)
    return [Row(random.integers(0, vocab, int(length)).astype(np.int32)) for length in lengths]


async def flood(encoder: Encoder, calls: Sequence[list[Row]], seconds: float) -> tuple[int, int]:
    """Every call again and again by a caller of its own, for so long: calls that were answered, and that failed."""
    until = time.perf_counter() + seconds
    answered = failed = 0

    async def one(rows: list[Row]) -> None:
        nonlocal answered, failed
        while time.perf_counter() < until:
            try:
                found = await encoder.scheduler.submit(rows, _logit, pure="logit")
            except EngineFailed:
                failed += 1
                continue
            assert np.isfinite(found).all()
            answered += 1

    await asyncio.gather(*(one(rows) for rows in calls))
    return answered, failed


def _logit(_: int, row: Float32, __: Float32 | None) -> float:
    return float(row[0])
