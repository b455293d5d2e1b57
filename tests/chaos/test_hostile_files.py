"""Every file of the hostile corpus through the real sandbox: its refusal, its time, its memory."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from hostile import Hostile, corpus
from ullage.errors import DocumentRefused
from ullage.ingest.readers.source import Wish
from ullage.ingest.sandbox import Reading, ReadLimits, Sandbox

LIMITS = ReadLimits(timeout_s=20)
KILL_S = 2.0


@pytest.mark.timeout(900)
async def test_every_hostile_file_gets_its_end_and_the_batch_goes_on(tmp_path: Path, capsys) -> None:
    sandbox = Sandbox(LIMITS)
    faults: list[str] = []
    table: list[str] = []
    files = [*corpus()]
    assert len(files) >= 40
    assert len({file.name for file in files}) == len(files)
    good = tmp_path / "good.md"
    good.write_text("# Pumps\n\nThe pump is serviced every year.\n")
    try:
        for file in files:
            said, seconds, peak = await outcome(sandbox, file, tmp_path)
            table.append(f"{file.name:22} {seconds:6.2f} s {peak >> 20:5d} MiB  {said[:110]}")
            allowed = "" if file.expected is None else file.expected
            if (not said) != (file.expected is None) or (said and not re.search(allowed, said)):
                faults.append(f"{file.name}: expected {file.expected!r}, got {said!r}")
            if said and (not said.startswith(file.name) or "\n" in said):
                faults.append(f"{file.name}: is not named in one line: {said!r}")
            if seconds > LIMITS.timeout_s + KILL_S or peak > LIMITS.memory_bytes:
                faults.append(f"{file.name}: took {seconds:.1f} s and {peak >> 20} MiB")
            assert (await sandbox.document(good, "good.md")).pages
    finally:
        await sandbox.close()
    with capsys.disabled():
        print("", *table, f"{len(files)} files", sep="\n")
    assert not faults, "\n".join(faults)


async def outcome(sandbox: Sandbox, file: Hostile, folder: Path) -> tuple[str, float, int]:
    """The refusal ("" for none), the seconds it took, and the reader's peak."""
    path = folder / "stored"
    path.write_bytes(file.make())
    reading = Reading(file.name)
    begun = time.monotonic()
    try:
        pages = [page async for page in sandbox.pages(path, reading, Wish(look=file.look))]
    except DocumentRefused as refusal:
        said = refusal.message
    else:
        said = "" if any(page.blocks or page.pictures for page in pages) else f"{file.name}: nothing was read"
    return said, time.monotonic() - begun, reading.peak_bytes
