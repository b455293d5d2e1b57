"""All GPU measurements in one run, and their tables in Markdown."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ullage.bench.gpu import GpuReport, Line, Say, measure, prepare
from ullage.bench.gpu_checkpoint import one_billion
from ullage.bench.gpu_devices import DevicesReport, measure_devices
from ullage.bench.gpu_http import HttpReport, measure_http
from ullage.bench.gpu_memory import Footprint, footprints, free_memory_cases
from ullage.bench.gpu_peer import measure_peer
from ullage.bench.gpu_service import tokenizer_in
from ullage.bench.versions import in_words

PARTS = ("speed", "peer", "memory", "beside", "http")
"""Speed beside padded transformers; beside another library, from texts on; memory of each profile; a card that others
use; the service over HTTP."""

MORE_PARTS = ("devices",)
"""What needs several GPUs, and is measured only when it is asked for: one scheduler before all of them."""

MIB = 1 << 20


@dataclass(slots=True)
class Findings:
    """What was measured of `PARTS` and `MORE_PARTS`; None or empty where it was not asked for."""

    speed: GpuReport | None = None
    peer: list[Line] = field(default_factory=list)
    memory: list[Footprint] = field(default_factory=list)
    beside: list[Footprint] = field(default_factory=list)
    flood: dict[str, int] = field(default_factory=dict)
    http: list[HttpReport] = field(default_factory=list)
    devices: list[DevicesReport] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def measure_all(folder: Path, cache_dir: Path, say: Say, *, parts: Sequence[str] = PARTS,
                precisions: Sequence[str] = ("bf16", "int8", "fp8")) -> Findings:
    """`folder` keeps the checkpoint (2.3 GiB, written if it is not there), `cache_dir` compiled kernels.

    Raises UllageError for what the service itself would refuse, RuntimeError for a GPU that fails.
    """
    found = Findings()
    prepare(folder, one_billion(), say)
    tokenizer_in(folder)
    for part in parts:
        begun = time.perf_counter()
        if part == "speed":
            found.speed = measure(folder, cache_dir, say, precisions=precisions)
        elif part == "peer":
            found.peer = measure_peer(folder, cache_dir, one_billion(), precisions, say)
        elif part == "memory":
            found.memory = footprints(folder, cache_dir, say)
        elif part == "beside":
            found.beside, found.flood = free_memory_cases(folder, cache_dir, say)
        elif part == "http":
            found.http = [measure_http(folder, cache_dir, say, precision=precision) for precision in precisions]
        elif part == "devices":
            found.devices = [measure_devices(folder, cache_dir, say, precision=each) for each in precisions]
        found.seconds[part] = time.perf_counter() - begun
    return found


def markdown(found: Findings) -> str:
    """The tables of docs/benchmarks.md."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found: Findings) -> Iterator[str]:
    if found.speed is not None:
        yield from _speed(found.speed)
    if found.peer:
        yield from ("", "| work | how | ms | rows/s | TFLOP/s | of the ceiling | to CrossEncoder |",
                    "|---|---|---|---|---|---|---|")
        yield from (_line(each, {}) for each in found.peer)
    if found.memory:
        yield from ("", "| profile | predicted MiB | measured MiB, device-wide | off |", "|---|---|---|---|")
        yield from (_footprint(each) for each in found.memory)
    if found.beside:
        yield from ("", "| free MiB | profile | predicted MiB | measured MiB | off | |", "|---|---|---|---|---|---|")
        yield from (f"| {(each.free_before or 0) // MIB:,} {_footprint(each)} {_short(each.said)} |"
                    for each in found.beside)
        yield from ("", f"Flood while the hog fills the card: {found.flood}")
    if found.http:
        yield from ("", "| over HTTP | start to ready s | pairs/s | of the engine's own | p50 s | p99 s | failed |",
                    "|---|---|---|---|---|---|---|")
        yield from (_http(each) for each in found.http)
    if found.devices:
        yield from ("", "| one scheduler | GPUs | rows/s, one GPU | rows/s, all | ratio | when one fails |",
                    "|---|---|---|---|---|---|")
        yield from (_devices(each) for each in found.devices)


def _speed(report: GpuReport) -> Iterator[str]:
    yield in_words(report.environment)
    yield ", ".join(f"{name} {value:.4g}" for name, value in report.ceilings.items())
    yield from ("", "| work | how | ms | rows/s | TFLOP/s | of the ceiling | to the baseline |",
                "|---|---|---|---|---|---|---|")
    yield from (_line(each, report.ceilings) for each in report.lines)
    for precision, figures in report.engines.items():
        yield f"\n{precision}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
    for precision, figures in report.agreement.items():
        yield f"\nagreement of {precision} with fp32: " + ", ".join(f"{k} {v:.4g}" for k, v in figures.items())


def _line(line: Line, ceilings: dict[str, float]) -> str:
    ceiling = ceilings.get(f"{'fp8' if 'fp8' in line.how else 'bf16'}_tflops")
    share = "" if ceiling is None else f"{line.tflops / ceiling:.0%}"
    ratio = "" if line.ratio is None else f"{line.ratio:.2f} x"
    return (f"| {line.work} | {line.how} | {line.seconds * 1e3:.2f} | {line.rows_per_s:.0f} | {line.tflops:.0f} | "
            f"{share} | {ratio} |")


def _footprint(each: Footprint) -> str:
    if each.measured is None or each.off is None:
        return f"| {each.profile} | {each.predicted // MIB:,} | | |"
    return f"| {each.profile} | {each.predicted // MIB:,} | {each.measured // MIB:,} | {each.off:+.1%} |"


def _short(said: str) -> str:
    return said.replace("|", "/")


def _devices(each: DevicesReport) -> str:
    lost = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in each.after_loss.items())
    return (f"| {each.profile} | {each.devices} | {each.alone:.0f} | {each.together:.0f} | {each.ratio:.2f} | {lost} |")


def _http(each: HttpReport) -> str:
    return (f"| {each.profile} | {each.start_s:.1f} | {each.rows_per_s:.0f} | {each.share:.0%} | {each.p50_s:.2f} | "
            f"{each.p99_s:.2f} | {each.failures} |")
