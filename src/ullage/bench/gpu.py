"""Speed of the packed engine on this GPU, beside what is usual and what the chip can do, all in one run.

No downloads: the checkpoint has the true shape and random values. Times are medians of whole calls, from rows of token
ids on the host to scores on the host, repeated without a pause: the chip is at its power limit then, as under a load.
Each contender runs in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pynvml

from ullage.bench.agreement import kendall_tau
from ullage.bench.gpu_checkpoint import one_billion, write_checkpoint
from ullage.bench.versions import versions
from ullage.engines.base import Batch, Float32, Row
from ullage.models.card import Card
from ullage.plan.packed import packed_gpu_ledger
from ullage.plan.profile import Profile

MAX_TOKENS = 16384
MAX_SEQUENCE = 8192
MIXED_SPREAD = 0.6
"""Of the logarithm of a mixed row's length."""

BASELINE_BATCHES = (8, 16, 32, 64)
LONG_BASELINE_BATCHES = (2, 8)
LONG_TOKENS = 4096
"""Rows beyond this are long: fewer are padded together."""

USUAL_BATCH = 32
"""What cross-encoder libraries take unless told otherwise."""

SUSTAINED_S = 3.0

Say = Callable[[str], None]
P = ParamSpec("P")
R = TypeVar("R")


def apart(call: Callable[P, R], *given: P.args, **named: P.kwargs) -> R:
    """Run a call in a new process, which gives all its memory on the GPU back, and return what it returns."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(call, *given, **named).result()


def tell(said: str) -> None:
    """Progress, on standard error."""
    print(said, file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Work:
    """Rows to score, by their tokens."""

    name: str
    lengths: tuple[int, ...]

    def rows(self, vocab: int) -> list[Row]:
        return [Row(np.random.default_rng(index).integers(0, vocab, length).astype(np.int32))
                for index, length in enumerate(self.lengths)]


@dataclass(frozen=True, slots=True)
class Line:
    """One measurement: median `seconds` for a work. `ratio` is to the baseline of the same run."""

    work: str
    how: str
    seconds: float
    rows_per_s: float
    tokens_per_s: float
    tflops: float
    ratio: float | None = None


@dataclass(slots=True)
class GpuReport:
    """`agreement` maps a precision to Kendall's tau and the largest difference to fp32, over 100 rows."""

    environment: dict[str, str]
    ceilings: dict[str, float] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    agreement: dict[str, dict[str, float]] = field(default_factory=dict)
    engines: dict[str, dict[str, float]] = field(default_factory=dict)


def works() -> list[Work]:
    """The loads of the table, the same in every run."""
    random = np.random.default_rng(1)

    def mixed(count: int, mean: int, longest: int) -> tuple[int, ...]:
        drawn = np.exp(random.normal(np.log(mean), MIXED_SPREAD, count))
        return tuple(int(n) for n in np.clip(drawn, 16, longest))

    return [
        Work("40 mixed, up to 512", mixed(40, 200, 512)),
        Work("40 x 512", (512,) * 40),
        Work("512 mixed, up to 2048", mixed(512, 200, 2048)),
        Work("8 x 8192", (8192,) * 8),
        Work("4 x 64", (64,) * 4),
        Work("10 x 256", (256,) * 10),
    ]


def measure(
    folder: Path, cache_dir: Path, say: Say, *, precisions: Sequence[str] = ("bf16", "int8", "fp8")
) -> GpuReport:
    """Everything, one after the other. `folder` takes checkpoints of 2.3 GiB each, where it has none."""
    ranker, embedder = one_billion(), one_billion("embedding")
    prepare(folder, ranker, say)
    prepare(folder / "embedder", embedder, say)
    report = GpuReport(apart(environment))
    report.ceilings = apart(ceilings)
    say(str(report.ceilings))
    report.lines, wanted = apart(_measure_baseline, folder, ranker)
    baseline: dict[str, float] = {}
    for found in report.lines:
        baseline[found.work] = min(found.seconds, baseline.get(found.work, found.seconds))
    for precision in precisions:
        say(f"packed, {precision}")
        apart(_measure_engine, folder, cache_dir, ranker, precision, baseline, wanted).into(report, precision)
        if precision == "bf16":
            report.lines += apart(_measure_embedder, folder / "embedder", cache_dir, embedder, precision)
    return report


def prepare(folder: Path, card: Card, say: Say) -> None:
    """Write a checkpoint of the card's shape, where there is none."""
    if not (folder / "config.json").is_file():
        say(f"writing a checkpoint of the shape of {card.name}")
        apart(write_checkpoint, folder, card)


def environment() -> dict[str, str]:
    """Versions, the chip and its clocks."""
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    clock = pynvml.nvmlDeviceGetMaxClockInfo
    return {
        **versions("torch", "triton", "transformers", "sentence-transformers"),
        "gpu": str(pynvml.nvmlDeviceGetName(handle)),
        "driver": str(pynvml.nvmlSystemGetDriverVersion()),
        "sm_clock_max_mhz": str(clock(handle, pynvml.NVML_CLOCK_SM)),
        "memory_clock_max_mhz": str(clock(handle, pynvml.NVML_CLOCK_MEM)),
        "power_limit_w": str(pynvml.nvmlDeviceGetEnforcedPowerLimit(handle) // 1000),
        "cores": str(os.cpu_count()),
    }


def ceilings(size: int = 8192) -> dict[str, float]:
    """TFLOP/s of square matrix products of that size, briefly and for seconds, with the SM clock right after, and TB/s
    of a copy."""
    import torch

    first, second = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    products: dict[str, Callable[[], object]] = {"bf16": lambda: torch.mm(first, second)}
    if torch.cuda.get_device_capability() >= (8, 9):
        one, other = first.to(torch.float8_e4m3fn), second.to(torch.float8_e4m3fn).t().contiguous().t()
        ones = torch.ones(size, 1, device="cuda")
        products["fp8"] = lambda: torch._scaled_mm(
            one, other, scale_a=ones, scale_b=ones.t(), out_dtype=torch.bfloat16, use_fast_accum=True)
    found: dict[str, float] = {}
    for name, product in products.items():
        found[f"{name}_tflops"] = 2 * size**3 / event_seconds(product) / 1e12
        found[f"{name}_sustained_tflops"] = 2 * size**3 / sustained(product) / 1e12
        found[f"{name}_sustained_sm_clock_mhz"] = float(_clock())
    room = torch.empty(2, 1 << 29, dtype=torch.uint8, device="cuda")
    found["copy_tb_per_s"] = 2 * (1 << 29) / event_seconds(lambda: room[0].copy_(room[1])) / 1e12
    return found


def sustained(call: Callable[[], object], seconds: float = SUSTAINED_S) -> float:
    """Seconds of a call repeated without a pause for that long, over the second half: the chip is at its power limit
    then, as under a real load."""
    import torch

    one = event_seconds(call, 5)
    runs = max(10, int(seconds / one / 2))
    for _ in range(runs):
        call()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(runs):
        call()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1e3 / runs


def _clock() -> int:
    pynvml.nvmlInit()
    return int(pynvml.nvmlDeviceGetClockInfo(pynvml.nvmlDeviceGetHandleByIndex(0), pynvml.NVML_CLOCK_SM))


def event_seconds(call: Callable[[], object], runs: int = 30) -> float:
    """Median seconds on the GPU."""
    import torch

    for _ in range(3):
        call()
    times = []
    for _ in range(runs):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return float(statistics.median(times))


def wall_seconds(call: Callable[[], object], *, budget_s: float = 2.0, least: int = 5) -> float:
    """Median seconds of a call that ends with its result on the host: `least` calls, more while the budget lasts."""
    for _ in range(2):
        call()
    times: list[float] = []
    while len(times) < least or (sum(times) < budget_s and len(times) < 100):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def flops_of(work: Work, card: Card) -> float:
    """Of the layers: two for each weight and token, and attention over whole rows."""
    shape = card.shape
    attended = 4 * shape.layers * shape.heads * shape.head_dim
    return float(sum(2 * card.parameters.layers * n + attended * n * n for n in work.lengths))


def line(work: Work, card: Card, how: str, seconds: float, baseline: float | None = None) -> Line:
    return Line(work.name, how, seconds, len(work.lengths) / seconds, sum(work.lengths) / seconds,
                flops_of(work, card) / seconds / 1e12, None if baseline is None else baseline / seconds)


def _measure_baseline(folder: Path, card: Card) -> tuple[list[Line], Float32]:
    """Padded transformers on every load, and the logits of `_agreed` in fp32."""
    from ullage.bench.gpu_baseline import Padded

    padded = Padded(folder, card)
    found: list[Line] = []
    for work in works():
        found += _baseline(padded, work, card)
    for line_ in found:
        tell(_text(line_))
    del padded
    return found, Padded(folder, card, "fp32").run(_agreed().rows(card.shape.vocab), 8)


def _agreed() -> Work:
    """The rows on which precisions are compared."""
    return Work("100 mixed", works()[2].lengths[:100])


def _baseline(padded: Any, work: Work, card: Card) -> list[Line]:
    """The usual batch size, and the one that is fastest. Rows of one length also with the mask that the published code
    always makes, which keeps the fastest attention kernel out."""
    rows = work.rows(card.shape.vocab)
    sizes = LONG_BASELINE_BATCHES if max(work.lengths) > LONG_TOKENS else BASELINE_BATCHES
    found = {}
    for size in sizes:
        if size <= max(USUAL_BATCH, len(rows)):
            found[size] = wall_seconds(lambda size=size: padded.run(rows, size), budget_s=1.0, least=3)  # type: ignore[misc]
    best = min(found, key=lambda size: found[size])
    usual = min(USUAL_BATCH, max(found))
    lines = [line(work, card, f"padded bf16, batch {size}", found[size]) for size in dict.fromkeys((usual, best))]
    if len(set(work.lengths)) == 1:
        seconds = wall_seconds(lambda: padded.run(rows, best, masked=True), budget_s=1.0, least=3)
        lines.append(line(work, card, f"padded bf16, batch {best}, always masked", seconds))
    return lines


@dataclass(frozen=True, slots=True)
class EngineFound:
    """What one engine adds to a report."""

    lines: list[Line]
    figures: dict[str, float]
    agreement: dict[str, float]

    def into(self, report: GpuReport, precision: str) -> None:
        report.lines += self.lines
        report.engines[precision] = self.figures
        report.agreement[precision] = self.agreement


def open_engine(folder: Path, cache_dir: Path, card: Card, precision: str) -> Any:
    """The packed engine at its largest profile, held to its plan; not loaded yet."""
    from ullage.engines.cuda_packed.engine import PackedEngine

    profile = Profile("cuda", precision, MAX_TOKENS, MAX_SEQUENCE)
    ledger = packed_gpu_ledger(card, profile)
    return PackedEngine(card, profile, folder, cache_dir=cache_dir, index=0, limit_bytes=ledger.total - ledger.fixed)


def _measure_engine(
    folder: Path, cache_dir: Path, card: Card, precision: str, baseline: dict[str, float], wanted: Float32
) -> EngineFound:
    engine = open_engine(folder, cache_dir, card, precision)
    begun = time.perf_counter()
    engine.load()
    loaded_s = time.perf_counter() - begun
    lines, loads = [], works()
    for work in loads:
        batch = Batch.lay(work.rows(card.shape.vocab))
        seconds = wall_seconds(lambda batch=batch: engine.run(batch))  # type: ignore[misc]
        lines.append(line(work, card, f"packed {precision}", seconds, baseline[work.name]))
        tell(_text(lines[-1]))
    small = Batch.lay(loads[4].rows(card.shape.vocab))
    figures = {
        "load_s": loaded_s,
        "small_batch_on_the_gpu_ms": engine.seconds_on_device(small) * 1e3,
        "own_count_mib": engine.loaded_bytes / 2**20,
        "predicted_mib": packed_gpu_ledger(card, Profile("cuda", precision, MAX_TOKENS, MAX_SEQUENCE)).total / 2**20,
    }
    agreement = _agreement(engine, (_agreed(), wanted), card)
    figures["recompilations"] = float(engine.recompilations)
    tell(f"{figures} {agreement}")
    engine.close()
    return EngineFound(lines, figures, agreement)


def _measure_embedder(folder: Path, cache_dir: Path, card: Card, precision: str) -> list[Line]:
    """The embedder on the same trunk: rows per second, of norm 1."""
    engine = open_engine(folder, cache_dir, card, precision)
    engine.load()
    work = works()[2]
    batch = Batch.lay(work.rows(card.shape.vocab))
    norms = np.linalg.norm(engine.run(batch).rows, axis=1)
    assert np.abs(norms - 1).max() < 1e-3, norms
    found = line(work, card, f"packed {precision}, embedder", wall_seconds(lambda: engine.run(batch)))
    tell(_text(found))
    engine.close()
    return [found]


def _agreement(engine: Any, reference: tuple[Work, Float32], card: Card) -> dict[str, float]:
    work, wanted = reference
    rows = work.rows(card.shape.vocab)
    together = engine.run(Batch.lay(rows)).rows[:, 0]
    alone = np.concatenate([engine.run(Batch.lay([row])).rows[:, 0] for row in rows])
    return {
        "kendall_tau": kendall_tau(together, wanted),
        "largest_difference": float(np.abs(together - wanted).max()),
        "spread": float(wanted.std()),
        "alone_against_pack": float(np.abs(together - alone).max()),
    }


def _text(found: Line) -> str:
    ratio = "" if found.ratio is None else f", {found.ratio:.2f} x"
    return (f"{found.work}: {found.how}: {found.seconds * 1e3:.2f} ms, {found.rows_per_s:.0f} rows/s, "
            f"{found.tflops:.0f} TFLOP/s{ratio}")
