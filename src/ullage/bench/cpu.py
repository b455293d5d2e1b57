"""Rerankers on this CPU: same weights, same texts, same run. No downloads: the checkpoint has random values.

Of each backend of each library the fastest precision is taken that keeps the ranking: Kendall's tau to fp32 is TAU at
least on the mixed load. The fastest backend races in all of them. Then all take turns, round by round, so that what
else the machine does falls on everybody.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path

from ullage.bench.cpu_checkpoint import Work, mixed, texts, works, write_checkpoint
from ullage.bench.cpu_contenders import VARIANTS, Contender, Timing, in_process, over_http, peer
from ullage.bench.gpu_service import RankingProcess
from ullage.bench.versions import in_words, versions
from ullage.devices import detect
from ullage.errors import Unavailable
from ullage.models.export_onnx import export
from ullage.settings import load

TAU = 0.95
ROUNDS = 3
MANY_CLIENTS = 16
MANY_COUNTS = (1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 8, 8, 10, 10, 12)
"""Passages of each of the 16 clients' requests."""

SLOW = 0.5
"""A peer below this share of the fastest one's speed runs one round only."""

OVERHEAD_CALLS, OVERHEAD_TURNS = 20, 30
"""Calls of a turn, and turns of each."""
COLD_STARTS = 5
SHORT_TOKENS = 64

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """A peer that races, and its speed alone on the mixed load."""

    library: str
    variant: str
    pairs_per_s: float

    @property
    def backend(self) -> tuple[str, str]:
        return self.library, self.variant.partition("-")[0] if self.library == "sentence-transformers" else ""


@dataclass(frozen=True, slots=True)
class Line:
    """Of one contender on one load: medians over the rounds, p99 over all requests. `ratio` is to the best peer."""

    contender: str
    load: str
    pairs_per_s: float
    p50_s: float
    p99_s: float
    ratio: float | None = None


@dataclass(slots=True)
class CpuReport:
    """`tried` tells of every precision of every library its seconds on the mixed load and its tau, or what it said."""

    environment: dict[str, str]
    tried: dict[str, str] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    peaks: dict[str, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def measure(
    peers: Path | None, cache_dir: Path, say: Say, *, rounds: int = ROUNDS, precision: str = "int8",
    parts: Sequence[str] = ("peers", "overhead", "start"),
) -> CpuReport:
    """`peers` holds the environments that scripts/bench-cpu makes; without it only ours is measured.

    Of `parts`, "choose" chooses each library's precision anew, which is kept for "peers".
    """
    scratch = cache_dir / "bench" / "cpu"
    folder = scratch / "minilm-l6-random"
    if not (folder / "config.json").is_file():
        say("writing a checkpoint of MiniLM-L6's shape")
        write_checkpoint(folder, cache_dir)
    report = CpuReport(environment())
    settings = {"precision": precision}
    if "choose" in parts and peers is not None:
        (scratch / "chosen.json").unlink(missing_ok=True)
        _choose(report, peers, folder, scratch, cache_dir, say)
    if "peers" in parts:
        chosen = _choose(report, peers, folder, scratch, cache_dir, say) if peers is not None else []
        _race(report, peers, chosen, folder, scratch, cache_dir, settings, rounds, say)
    if "overhead" in parts:
        report.figures |= _overhead(folder, cache_dir, settings, say)
    if "start" in parts:
        report.figures["ready after start, default profile, s"] = _cold_start(cache_dir, say)
    return report


def environment() -> dict[str, str]:
    machine = detect()
    flags = " ".join(machine.cpu_flags)
    return {"cpu": f"{machine.cores} cores of {machine.cpu_model} ({flags})", **versions(),
            "system": platform.platform()}


def loads(folder: Path) -> dict[str, tuple[list[Work], int]]:
    """Name -> requests, and the clients that send them."""
    found = {work.name: ([work], 1) for work in works(folder)}
    many = [texts(folder, f"client {number}", mixed(count, seed=100 + number), seed=100 + number)
            for number, count in enumerate(MANY_COUNTS)]
    return found | {f"{MANY_CLIENTS} clients": (many, MANY_CLIENTS)}


def _choose(
    report: CpuReport, peers: Path, folder: Path, scratch: Path, cache_dir: Path, say: Say
) -> list[Choice]:
    """Who races. Kept between runs."""
    kept = scratch / "chosen.json"
    if kept.is_file():
        found = json.loads(kept.read_text(encoding="utf-8"))
        report.tried = found["tried"]
        return [Choice(*each) for each in found["chosen"]]
    _graph_for_fastembed(folder, scratch, cache_dir)
    work = works(folder)[0]
    reference: list[float] | None = None
    able: list[Choice] = []
    for library, variants in VARIANTS.items():
        for variant in variants:
            try:
                with peer(peers, library, variant, folder, scratch) as found:
                    timings = [found.run([work], 1) for _ in range(3)]
            except (Unavailable, OSError) as error:
                report.tried[f"{library} {variant}"] = f"does not run: {error}"
                say(f"{library} {variant} does not run: {error}")
                continue
            scores, seconds = timings[0].scores[0], min(timing.seconds for timing in timings)
            reference = reference or scores
            agreed = kendall_tau(reference, scores)
            report.tried[f"{library} {variant}"] = f"{len(scores) / seconds:.1f} pairs/s, tau {agreed:.3f}"
            say(f"{library} {variant}: {report.tried[f'{library} {variant}']}")
            if agreed >= TAU:
                able.append(Choice(library, variant, len(scores) / seconds))
    chosen = _racing(able)
    kept.write_text(json.dumps({"tried": report.tried, "chosen": [list(asdict(each).values()) for each in chosen]}),
                    encoding="utf-8")
    return chosen


def _racing(able: Sequence[Choice]) -> list[Choice]:
    """The fastest of each backend, and every one of the fastest backend."""
    best: dict[tuple[str, str], Choice] = {}
    for each in sorted(able, key=lambda choice: choice.pairs_per_s):
        best[each.backend] = each
    fastest = max(able, key=lambda choice: choice.pairs_per_s, default=None)
    return [each for each in able
            if each is best[each.backend] or (fastest is not None and each.backend == fastest.backend)]


def _graph_for_fastembed(folder: Path, scratch: Path, cache_dir: Path) -> None:
    """The checkpoint's files with our fp32 export beside them: it reads nothing else."""
    own = scratch / "fastembed"
    own.mkdir(parents=True, exist_ok=True)
    graph = export(folder, cache_dir)
    for path in (*graph.parent.iterdir(), *folder.glob("*.json"), folder / "vocab.txt"):
        target = own / path.name
        if not target.exists():
            target.write_bytes(path.read_bytes())


def _race(
    report: CpuReport, peers: Path | None, chosen: Sequence[Choice], folder: Path, scratch: Path,
    cache_dir: Path, settings: dict[str, str], rounds: int, say: Say,
) -> None:
    asked = loads(folder)
    timings: dict[tuple[str, str], list[Timing]] = {}
    with ExitStack() as stack:
        say("starting everybody")
        contenders: list[Contender] = [over_http(stack, folder, cache_dir, settings)]
        contenders.append(stack.enter_context(in_process(folder, settings)))
        if peers is not None:
            contenders += [stack.enter_context(peer(peers, each.library, each.variant, folder, scratch))
                           for each in chosen]
        slow = {f"{each.library} {each.variant}" for each in chosen
                if each.pairs_per_s < SLOW * max(other.pairs_per_s for other in chosen)}
        for number in range(rounds + 1):
            for name, (works_of, clients) in asked.items():
                for contender in contenders:
                    if number > 1 and contender.name in slow:
                        continue
                    timing = contender.run(works_of, clients)
                    if number:  # the first round warms up
                        timings.setdefault((contender.name, name), []).append(timing)
            say(f"round {number} of {rounds}" if number else "warm")
        for contender in contenders:
            report.peaks[contender.name] = contender.peak_bytes()
            report.environment |= {contender.name: in_words(contender.versions)}
    ours = {contenders[0].name, contenders[1].name}
    for name, (works_of, _) in asked.items():
        pairs = sum(len(work.passages) for work in works_of)
        rates = {contender.name: pairs / statistics.median(t.seconds for t in timings[contender.name, name])
                 for contender in contenders}
        best = max((rate for who, rate in rates.items() if who not in ours), default=None)
        for contender in contenders:
            latencies = sorted(s for t in timings[contender.name, name] for s in t.latencies_s)
            report.lines.append(Line(
                contender.name, name, rates[contender.name], statistics.median(latencies),
                latencies[min(len(latencies) - 1, int(0.99 * len(latencies)))],
                rates[contender.name] / best if best else None,
            ))


def _overhead(folder: Path, cache_dir: Path, settings: dict[str, str], say: Say) -> dict[str, float]:
    """Milliseconds that HTTP adds to five short passages: the median over turns of the difference between the medians
    of two neighbouring turns, one over HTTP and one in-process, so that a machine that slows down slows both."""
    say("what HTTP adds")
    work = [texts(folder, "5 short", (SHORT_TOKENS,) * 5, seed=4)] * OVERHEAD_CALLS
    with ExitStack() as stack:
        http = over_http(stack, folder, cache_dir, settings)
        local = stack.enter_context(in_process(folder, settings))
        taken: dict[str, list[float]] = {"http": [], "local": []}
        for turn in range(1 + OVERHEAD_TURNS):
            for name, contender in (("http", http), ("local", local)):
                median_s = statistics.median(contender.run(work, 1).latencies_s)
                if turn:  # the first warms up
                    taken[name].append(median_s * 1e3)
    added = [ours - alone for ours, alone in zip(taken["http"], taken["local"], strict=True)]
    return {"5 short over HTTP, median ms": statistics.median(taken["http"]),
            "5 short in-process, median ms": statistics.median(taken["local"]),
            "HTTP adds, median ms": statistics.median(added)}


def _cold_start(cache_dir: Path, say: Say) -> float:
    """Seconds from the start of `ullage serve ranking`, as it comes, to the first 200 of ready: the median."""
    say("cold starts")
    model = load({}, service="ranking").settings.ranking_model
    taken = []
    for _ in range(COLD_STARTS):
        with RankingProcess(Path(model), cache_dir, ranking_device="cpu") as server:
            taken.append(server.start_s)
        time.sleep(0.1)
    return statistics.median(taken)


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Pairs in the same order less pairs in the other, as a share of all; a tie in one is neither."""
    pairs = list(combinations(range(len(first)), 2))
    agreed = sum(_sign(first[a] - first[b]) * _sign(second[a] - second[b]) for a, b in pairs)
    return agreed / len(pairs)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def markdown(report: CpuReport) -> str:
    """The report as docs/benchmarks.md has it."""
    said = ["| load | contender | pairs/s | p50 ms | p99 ms | to the best peer | peak MiB |",
            "|---|---|---|---|---|---|---|"]
    for line in report.lines:
        ratio = f"{line.ratio:.2f}" if line.ratio is not None else ""
        said.append(f"| {line.load} | {line.contender} | {line.pairs_per_s:.1f} | {line.p50_s * 1e3:.0f} | "
                    f"{line.p99_s * 1e3:.0f} | {ratio} | {report.peaks[line.contender] >> 20} |")
    said += [""] + [f"- {name}: {value:.2f}" for name, value in report.figures.items()]
    said += [""] + [f"- tried: {name}: {told}" for name, told in report.tried.items()]
    said += [""] + [f"- {name}: {value}" for name, value in report.environment.items() if value]
    return "\n".join([*said, f"- load of the machine at the end: {os.getloadavg()[0]:.1f}"])
