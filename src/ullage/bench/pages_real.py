"""Real PDFs through our readers, and through a running ingestor: pages a second, memory, failures, empty pages.

`python -m ullage.bench.pages_real FOLDER [--ingestor URL] [--spots N --seed N --out DIR]`; `scripts/real-pdfs` fetches
them.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from ullage.bench.pages import markdown
from ullage.errors import DocumentRefused
from ullage.ingest.document import Document, Page
from ullage.ingest.readers.source import Wish
from ullage.ingest.sandbox import Reading, ReadLimits, Sandbox

MIB = 1 << 20
THUMBNAIL_PIXELS = 256
DARK = 160
"""Grey below which a dot of a thumbnail is ink, of 255."""

SPOT_PIXELS = 1400
POLL_S = 0.5


@dataclass(slots=True)
class FileRead:
    """`blank` pages show nothing; `empty` ones show something and gave no text. `words` were kept in all."""

    name: str
    pages: int = 0
    blank: list[int] = field(default_factory=list)
    empty: list[int] = field(default_factory=list)
    words: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0
    warnings: list[str] = field(default_factory=list)
    fault: str = ""


async def read_all(paths: Sequence[Path], spots: dict[str, set[int]], out: Path | None) -> list[FileRead]:
    """Every file in the sandbox with thumbnails, as the ingestor does; text and picture of the `spots` go to `out`."""
    sandbox = Sandbox(ReadLimits(upload_bytes=1 << 30))
    try:
        return [await _read(sandbox, path, spots.get(path.name, set()), out) for path in paths]
    finally:
        await sandbox.close()


async def _read(sandbox: Sandbox, path: Path, spots: set[int], out: Path | None) -> FileRead:
    found, reading, begun = FileRead(path.name), Reading(path.name), time.perf_counter()
    try:
        pages = sandbox.pages(path, reading, Wish(thumbnail_pixels=THUMBNAIL_PIXELS))
        async for page in pages:
            found.pages += 1
            found.words += sum(len(block.text.split()) for block in page.blocks)
            if not page.blocks:
                (found.empty if _shows_something(page) else found.blank).append(page.number)
            if page.number in spots and out is not None:
                text = markdown(Document(path.name, (page,)))
                (out / f"{path.stem}-{page.number:04d}.md").write_text(text, encoding="utf-8")
                if page.number == max(spots):
                    await pages.aclose()
                    break
    except DocumentRefused as refusal:
        found.fault = refusal.message
    found.seconds, found.peak_bytes, found.warnings = time.perf_counter() - begun, reading.peak_bytes, reading.warnings
    if out is not None:
        for number in sorted(spots):
            made = await sandbox.render(path, path.name, number, SPOT_PIXELS)
            (out / f"{path.stem}-{number:04d}.png").write_bytes(made.png)
    return found


def _shows_something(page: Page) -> bool:
    with Image.open(io.BytesIO(page.thumbnail), formats=("JPEG",)) as image:
        darkest, _ = image.convert("L").getextrema()
    return float(darkest) < DARK  # type: ignore[arg-type]  # of one band


def chosen_spots(found: Sequence[FileRead], number: int, seed: int = 0) -> dict[str, set[int]]:
    """Pages drawn from all pages of all files; the same for the same files and seed."""
    places = [(one.name, page) for one in found for page in range(1, one.pages + 1)]
    spots: dict[str, set[int]] = {}
    for name, page in random.Random(seed).sample(places, min(number, len(places))):  # noqa: S311 - pages, not secrets
        spots.setdefault(name, set()).add(page)
    return spots


def ingest(url: str, paths: Sequence[Path]) -> dict[str, Any]:
    """All files into a new collection of a running ingestor; how long it took, and the most memory it held."""
    with httpx.Client(base_url=url, timeout=300) as client:
        client.post("/v1/collection", json={"collection_name": "real_pdfs"}).raise_for_status()
        begun = time.perf_counter()
        parts = [("documents", (path.name, path.read_bytes())) for path in paths]
        sent = client.post("/v1/documents", files=parts, data={"data": '{"collection_name": "real_pdfs"}'})
        task = sent.raise_for_status().json()["task_id"]
        peak = 0
        while True:
            peak = max(peak, int(client.get("/v1/memory").json()["resident_bytes"]))
            body = client.get("/v1/status", params={"task_id": task}).json()
            if body["state"] != "PENDING":
                break
            time.sleep(POLL_S)
        seconds = time.perf_counter() - begun
        listed = client.get("/v1/documents", params={"collection_name": "real_pdfs"}).json()["documents"]
    info = [document["document_info"] for document in listed]
    return {
        "seconds": seconds,
        "peak_bytes": peak,
        "documents": len(info),
        "pages": sum(one["number_of_pages"] for one in info),
        "chunks": sum(one["total_elements"] for one in info),
        "failed": [one["error_message"] for one in body["result"].get("failed_documents", [])],
    }


def report(found: Sequence[FileRead]) -> str:
    pages, seconds = sum(one.pages for one in found), sum(one.seconds for one in found)
    lines = [f"{one.name}: {one.pages} pages, {one.words} words, {one.pages / one.seconds:.0f} pages/s, "
             f"{one.peak_bytes / MIB:.0f} MiB, blank {one.blank}, empty {one.empty}"
             + "".join(f"; {line}" for line in (*one.warnings, one.fault) if line) for one in found]
    return "\n".join([
        *lines,
        f"read: {len(found)} files, {pages} pages, {pages / seconds:.0f} pages/s with thumbnails, one process; peak "
        f"{max(one.peak_bytes for one in found) / MIB:.0f} MiB; {sum(bool(one.fault) for one in found)} failures, "
        f"{sum(len(one.empty) for one in found)} empty pages, {sum(len(one.blank) for one in found)} blank ones",
    ])


def main() -> None:
    parser = argparse.ArgumentParser(description="Read real PDFs, and ingest them.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ingestor", default="", help="URL of a running ingestor that gets all files too")
    parser.add_argument("--most-pages", type=int, default=2000, help="larger files are read, but not ingested too")
    parser.add_argument("--spots", type=int, default=0, help="pages whose text and picture are written to --out")
    parser.add_argument("--seed", type=int, default=0, help="other spots")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    paths = sorted(asked.folder.glob("*.pdf"))
    if not paths:
        parser.error(f"{asked.folder} holds no PDF: run scripts/real-pdfs")
    found = asyncio.run(read_all(paths, {}, None))
    print(report(found))
    if asked.spots and asked.out:
        asked.out.mkdir(parents=True, exist_ok=True)
        spots = chosen_spots(found, asked.spots, asked.seed)
        asyncio.run(read_all([path for path in paths if path.name in spots], spots, asked.out))
    if asked.ingestor:
        small = {one.name for one in found if one.pages <= asked.most_pages}
        done = ingest(asked.ingestor, [path for path in paths if path.name in small])
        print(f"ingested: {done['documents']} documents, {done['pages']} pages, {done['chunks']} chunks in "
              f"{done['seconds']:.0f} s ({done['pages'] / done['seconds']:.1f} pages/s); ingestor and readers peak "
              f"{done['peak_bytes'] / MIB:.0f} MiB; failed: {done['failed']}")


if __name__ == "__main__":
    main()
