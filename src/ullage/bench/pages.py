"""Pages with known truth (`samples/make_pages.py`), read by our readers and by other tools in the same run."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ullage.bench import pages_other
from ullage.bench.pages_score import CellScore, cell_score, character_errors, markdown_tables, order_errors
from ullage.clients.vision import VisionClient
from ullage.errors import DeadlineExceeded, DocumentRefused, InvalidRequest, Unavailable
from ullage.ingest.document import Block, Document
from ullage.ingest.look import Look, looked_at
from ullage.ingest.readers.source import Wish
from ullage.ingest.sandbox import Reading, ReadLimits, Sandbox
from ullage.ingest.vision import VisionLook
from ullage.version import __version__

TEXT_KINDS = ("ruled", "unruled", "columns", "chart")
OTHER_TIMEOUT_S = 600
LOOK_TIMEOUT_S = 30.0
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Truth:
    """What stands on the one page of a file; see samples/make_pages.py."""

    file: str
    kind: str
    language: str
    paragraphs: list[str]
    tables: list[list[list[str]]]
    chart: list[str]
    dpi: int


@dataclass(frozen=True, slots=True)
class Run:
    """What one tool made of the files: Markdown by file name."""

    tool: str
    texts: dict[str, str]
    seconds: float
    peak_bytes: int
    faults: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PageScores:
    """F1 and shares from 0 to 1. `cer` by dots per inch, empty where nobody read the scans."""

    tool: str
    pages: int
    pages_per_second: float
    peak_mib: float
    ruled_f1: float
    unruled_f1: float
    order_errors: int
    paragraphs: int
    cer: dict[int, float] = field(default_factory=dict)
    scan_pages_per_second: float = 0.0
    faults: dict[str, str] = field(default_factory=dict)


def read_truth(folder: Path) -> list[Truth]:
    try:
        return [Truth(**one) for one in json.loads((folder / "truth.json").read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        raise InvalidRequest(f"{folder} holds no page test set: make it with `python samples/make_pages.py --out "
                             f"{folder}`") from None


async def ours(folder: Path, truths: Sequence[Truth], look: Look | None = None) -> Run:
    """Our readers in their sandbox, file after file, as the ingestor uses them; without thumbnails."""
    sandbox = Sandbox(ReadLimits())
    texts, faults, peak = {}, {}, 0
    wish = Wish(look=look is not None)
    try:
        # The first file pays for the process and its libraries, as it does for the other tools.
        await _first(sandbox, folder / truths[0].file, wish)
        begun = time.perf_counter()
        for truth in truths:
            reading = Reading(truth.file)
            try:
                pages = [page async for page in sandbox.pages(folder / truth.file, reading, wish)]
                if look is not None:
                    pages = [await looked_at(page, look) for page in pages]
                texts[truth.file] = markdown(Document(truth.file, tuple(pages)))
            except (DocumentRefused, Unavailable, DeadlineExceeded) as refusal:
                texts[truth.file], faults[truth.file] = "", refusal.message
            peak = max(peak, reading.peak_bytes)
        seconds = time.perf_counter() - begun
    finally:
        await sandbox.close()
    return Run(f"ullage {__version__}", texts, seconds, peak, faults)


async def _seen(folder: Path, truths: Sequence[Truth], vision_url: str) -> Run:
    look = VisionLook(VisionClient(vision_url, timeout_s=LOOK_TIMEOUT_S))
    try:
        return await ours(folder, truths, look)
    finally:
        await look.close()


async def _first(sandbox: Sandbox, path: Path, wish: Wish) -> None:
    try:
        await sandbox.document(path, path.name, wish)
    except DocumentRefused:
        return


def others(tool: str, python: Path, folder: Path, truths: Sequence[Truth]) -> Run:
    """Another tool in its own environment. Raises InvalidRequest when it is not there or answers nothing."""
    script = Path(pages_other.__file__)
    files = [str(folder / truth.file) for truth in truths]
    try:
        command = [str(python), "-I", str(script), tool, *files]
        done = subprocess.run(command, capture_output=True, timeout=OTHER_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InvalidRequest(f"{tool}: {python} cannot run it ({type(error).__name__})") from None
    if done.returncode != 0:
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["nothing said"])[-1]
        raise InvalidRequest(f"{tool}: does not run in {python}: {last[:300]}")
    said = json.loads(done.stdout.splitlines()[-1])
    return Run(said["tool"], said["texts"], float(said["seconds"]), int(said["peak_bytes"]), said["faults"])


def markdown(document: Document) -> str:
    """The document as one text, as the other tools give it."""
    return "\n\n".join(_shown(block) for page in document.pages for block in page.blocks)


def _shown(block: Block) -> str:
    text = f"{'#' * min(block.level, 6)} {block.text}" if block.kind == "heading" else block.text
    return f"{block.caption}\n\n{text}" if block.caption else text


def score(run: Run, scans: Run | None, truths: Sequence[Truth]) -> PageScores:
    """Tables count on ruled and unruled pages, order on those of two columns, characters on scans."""
    cells = {"ruled": CellScore(), "unruled": CellScore()}
    errors = paragraphs = 0
    for truth in truths:
        text = run.texts.get(truth.file, "")
        if truth.kind in cells:
            cells[truth.kind] += cell_score(markdown_tables(text), truth.tables)
        elif truth.kind == "columns":
            errors += order_errors(text, truth.paragraphs)
            paragraphs += len(truth.paragraphs)
    pages = sum(truth.kind in TEXT_KINDS for truth in truths)
    looked = [truth for truth in truths if truth.kind == "scan"] if scans is not None else []
    return PageScores(
        tool=run.tool,
        pages=pages,
        pages_per_second=pages / run.seconds,
        peak_mib=max(run.peak_bytes, scans.peak_bytes if scans is not None else 0) / MIB,
        ruled_f1=cells["ruled"].f1,
        unruled_f1=cells["unruled"].f1,
        order_errors=errors,
        paragraphs=paragraphs,
        cer=_cer(scans, looked) if scans is not None else {},
        scan_pages_per_second=len(looked) / scans.seconds if scans is not None else 0.0,
        faults={**run.faults, **(scans.faults if scans is not None else {})},
    )


def _cer(scans: Run, truths: Sequence[Truth]) -> dict[int, float]:
    """Over the pages without a table, whose text has one order."""
    counted: dict[int, tuple[int, int]] = {}
    for truth in truths:
        if truth.tables:
            continue
        errors, there = character_errors(scans.texts.get(truth.file, "").replace("#", ""), " ".join(truth.paragraphs))
        before = counted.get(truth.dpi, (0, 0))
        counted[truth.dpi] = (before[0] + errors, before[1] + there)
    return {dpi: errors / there for dpi, (errors, there) in counted.items()}


def measure(folder: Path, against: dict[str, Path], vision_url: str = "") -> list[PageScores]:
    """Our figures first. Text-layer pages and scans are separate runs: the one needs no model, the other does."""
    truths = read_truth(folder)
    texts = [truth for truth in truths if truth.kind in TEXT_KINDS]
    scans = [truth for truth in truths if truth.kind == "scan"]
    seen = asyncio.run(_seen(folder, scans, vision_url)) if vision_url and scans else None
    found = [score(asyncio.run(ours(folder, texts)), seen, truths)]
    return [*found, *(score(others(tool, python, folder, texts), None, truths) for tool, python in against.items())]
