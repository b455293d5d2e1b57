"""A PDF of 2,000 pages through the real ingestor: memory stays flat and inside the budget that is stated here."""

from __future__ import annotations

import asyncio
import io
import json
import os
import resource
import time
from pathlib import Path

import pytest
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Table

from hashing import RunIngest
from ingesting import embedder, ingest
from ullage.ingest.readers.source import Wish
from ullage.ingest.sandbox import Reading, ReadLimits, Sandbox

__all__ = ["embedder", "ingest"]

PAGES = 2000
MIB = 1 << 20
READER_BUDGET = 128 * MIB
"""Resident set of the reader's process, whatever the number of pages."""

GROWTH_BUDGET = 128 * MIB
"""What the ingestor, with Milvus Lite in its process, may grow by from the first tenth of the pages to the last."""


def long_pdf(pages: int) -> bytes:
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=A4, pageCompression=1)
    for number in range(1, pages + 1):
        canvas.setFont("Helvetica", 8)
        canvas.drawString(60, 815, "Manual of the yard")
        canvas.drawString(300, 20, str(number))
        if number % 10 == 1:
            canvas.setFont("Helvetica-Bold", 16)
            canvas.drawString(60, 780, f"Chapter {number // 10 + 1}")
        canvas.setFont("Helvetica", 10)
        for line in range(38):
            end = "which is checked." if line % 4 == 3 else "and"
            said = f"Line {line} of page {number} speaks of pump {number * 38 + line} and of its valve, {end}"
            canvas.drawString(60, 755 - 13 * line, said)
        table = Table([["Pump", "Flow", "When"], *[[f"P-{number}-{n}", f"{n} m3/h", "yearly"] for n in range(4)]],
                      style=[("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
        table.wrapOn(canvas, 400, 200)
        table.drawOn(canvas, 60, 130)
        canvas.showPage()
    canvas.save()
    return stream.getvalue()


@pytest.fixture(scope="module")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "manual.pdf"
    path.write_bytes(long_pdf(PAGES))
    return path


@pytest.mark.timeout(600)
async def test_the_reader_streams_2000_pages(manual: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox(ReadLimits())
    reading = Reading("manual.pdf")
    seen = tables = early = late = 0
    begun = time.monotonic()
    async for page in sandbox.pages(manual, reading, Wish(thumbnail_pixels=256)):
        seen += 1
        tables += sum(block.kind == "table" for block in page.blocks)
        assert not any("Manual of the yard" in block.text for block in page.blocks), page.number
        if seen == PAGES // 10:
            early = resident_bytes(children_of(os.getpid()))
        if seen == PAGES - 10:
            late = resident_bytes(children_of(os.getpid()))
    seconds = time.monotonic() - begun
    await sandbox.close()
    with capsys.disabled():
        print(f"\n{PAGES} pages: {PAGES / seconds:.0f} pages/s with thumbnails, reader {early / MIB:.0f} MiB after "
              f"{PAGES // 10} pages, {late / MIB:.0f} MiB near the end, peak {reading.peak_bytes / MIB:.0f} MiB")
    assert (seen, tables, reading.total) == (PAGES, PAGES, PAGES)
    assert reading.peak_bytes < READER_BUDGET
    assert late - early < 16 * MIB


def children_of(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()]


def resident_bytes(pids: list[int]) -> int:
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * resource.getpagesize()


@pytest.mark.timeout(900)
async def test_the_ingestor_stays_flat_over_2000_pages(
    ingest: RunIngest, manual: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes: list[tuple[int, int]] = []
    async with ingest(request_timeout_s=300) as client:
        await client.post("/collection", json={"collection_name": "c"})
        parts = [("documents", ("manual.pdf", await asyncio.to_thread(manual.read_bytes)))]
        begun = time.monotonic()
        answer = await client.post("/documents", files=parts, data={"data": json.dumps({"blocking": False})})
        del parts
        task = answer.json()["task_id"]
        while True:
            status = (await client.get("/status", params={"task_id": task})).json()
            [file] = status["nv_ingest_status"]["document_wise_status"].values()
            sizes.append((file["pages_done"], resident_bytes([os.getpid()])))
            if status["state"] != "PENDING":
                break
            await asyncio.sleep(0.5)
        seconds = time.monotonic() - begun
    first = next(size for pages, size in sizes if pages >= PAGES // 10)
    most = max(size for _, size in sizes)
    with capsys.disabled():
        print(f"\n{PAGES} pages ingested in {seconds:.0f} s ({PAGES / seconds:.0f} pages/s, hashing embedder), "
              f"{file['chunks_done']} chunks; process {first / MIB:.0f} MiB after a tenth, {most / MIB:.0f} at most")
    assert (status["state"], file["pages_done"]) == ("FINISHED", PAGES)
    assert most - first < GROWTH_BUDGET
