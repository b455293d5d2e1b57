"""Readers' processes: confined, killed in time, replaced, and no more trusted than their frames."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hostile import Hostile, corpus, word
from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Page, Picture
from ullage.ingest.readers.source import Wish
from ullage.ingest.sandbox import Reading, ReadLimits, Sandbox
from ullage.ingest.sandbox_wire import HEAD, BrokenFrame, Frame, frame_of, frame_of_page, page_of_frame, sizes

MIB = 1 << 20


def hostile(name: str) -> Hostile:
    return next(file for file in corpus() if file.name == name)


@pytest.fixture
def manual(tmp_path: Path) -> Path:
    path = tmp_path / "manual"
    path.write_text("# Pumps\n\nServiced every year.\n")
    return path


async def test_a_document_is_the_same_as_read_in_process(manual: Path) -> None:
    sandbox = Sandbox(ReadLimits())
    document = await sandbox.document(manual, "manual.md")
    assert [(block.kind, block.text, block.path) for block in document.pages[0].blocks] == [
        ("heading", "Pumps", ("Pumps",)), ("paragraph", "Serviced every year.", ("Pumps",))
    ]
    await sandbox.close()


async def test_one_process_reads_many_files_and_is_gone_after_close(manual: Path) -> None:
    sandbox = Sandbox(ReadLimits())
    pids = set()
    for _ in range(5):
        await sandbox.document(manual, "manual.md")
        pids |= {process.pid for process in sandbox._idle}
    assert len(pids) == 1
    await sandbox.close()
    assert not alive(pids.pop())


async def test_a_process_that_ever_held_much_is_not_kept(manual: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox(ReadLimits())
    await sandbox.document(manual, "manual.md")
    [kept] = sandbox._idle
    monkeypatch.setattr("ullage.ingest.sandbox.LARGEST_IDLE_BYTES", MIB)
    await sandbox.document(manual, "manual.md")
    assert sandbox._idle == []
    assert not alive(kept.pid)
    await sandbox.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_file_that_takes_too_long_is_refused_and_its_process_killed(tmp_path: Path, manual: Path) -> None:
    path = tmp_path / "slow"
    path.write_bytes(hostile("attributes.html").make())
    sandbox = Sandbox(ReadLimits(timeout_s=1))
    with pytest.raises(DocumentRefused, match=r"^slow\.html: its reader took more than 1 s \(reader_timeout_s\)"):
        await sandbox.document(path, "slow.html")
    assert sandbox._idle == []
    assert (await sandbox.document(manual, "manual.md")).pages
    await sandbox.close()


async def test_a_file_that_wants_too_much_is_refused(tmp_path: Path, manual: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"word " * (8 * MIB))
    sandbox = Sandbox(ReadLimits(memory_bytes=256 * MIB))
    with pytest.raises(DocumentRefused, match=r"^large\.txt: its reader (wanted more than 256 MiB|was ended by SIG)"):
        await sandbox.document(path, "large.txt")
    assert (await sandbox.document(manual, "manual.md")).pages
    await sandbox.close()


async def test_leaving_early_kills_the_process(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("a,b\n" + "1,2\n" * 200_000)
    sandbox = Sandbox(ReadLimits())
    pages = sandbox.pages(path, Reading("long.csv"), Wish())
    assert (await anext(pages)).number == 1
    await pages.aclose()
    assert sandbox._idle == []


async def test_time_that_the_ingestor_takes_is_not_the_files(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text("a,b\n" + "1,2\n" * 20_000)
    sandbox = Sandbox(ReadLimits(timeout_s=1.0))
    reading, count = Reading("long.csv"), 0
    async for _ in sandbox.pages(path, reading, Wish()):
        count += 1
        if count == 2:
            await asyncio.sleep(1.2)
    assert (count, reading.spent_s < 1.0, reading.peak_bytes > 10 * MIB) == (40, True, True)
    await sandbox.close()


async def test_two_files_at_once(manual: Path) -> None:
    sandbox = Sandbox(ReadLimits())
    found = await asyncio.gather(*(sandbox.document(manual, f"{n}.md") for n in range(3)))
    assert [document.name for document in found] == ["0.md", "1.md", "2.md"]
    await sandbox.close()


CONFINED = """
import os, socket, subprocess, sys, tempfile
from ullage.ingest.sandbox_child import confine
confine(512 << 20)
def tried(call, *arguments):
    try:
        call(*arguments)
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"
print(tried(socket.socket), tried(subprocess.run, ["true"]), tried(os.execv, "/bin/true", ["true"]),
      tried(os.kill, os.getppid(), 0), tried(bytearray, 600 << 20))
with open(sys.argv[1], "wb", buffering=0) as stream:
    print(tried(stream.write, b"x"))
print(len(open("/proc/self/status").read()) > 0)
"""


def test_what_a_confined_process_cannot_do(tmp_path: Path) -> None:
    target = tmp_path / "target"
    command = [sys.executable, "-c", textwrap.dedent(CONFINED), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == [*["PermissionError"] * 4, "MemoryError", "OSError", "True"]
    assert target.stat().st_size == 0


def test_a_reader_dies_with_its_ingestor(tmp_path: Path) -> None:
    script = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from ullage.ingest.sandbox import Sandbox, ReadLimits
    async def main():
        sandbox = Sandbox(ReadLimits())
        await sandbox.document(Path(sys.argv[1]), "a.md")
        print(sandbox._idle[0].pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    asyncio.run(main())
    """
    path = tmp_path / "a"
    path.write_text("text")
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True,
                          check=False, timeout=30)
    reader = int(done.stdout)
    for _ in range(50):
        if not alive(reader) or "State:\tZ" in Path(f"/proc/{reader}/status").read_text():
            return
        __import__("time").sleep(0.05)
    pytest.fail(f"process {reader} lives on")


async def test_office_files_too(tmp_path: Path) -> None:
    path = tmp_path / "stored"
    path.write_bytes(word())
    sandbox = Sandbox(ReadLimits())
    document = await sandbox.document(path, "a.docx")
    assert [block.text for block in document.pages[0].blocks] == ["Pumps", "The pump is serviced every year."]
    await sandbox.close()


def test_a_page_survives_the_wire() -> None:
    page = Page(
        3,
        (Block("table", "| a |", 0, ("x", "ü\n"), ("r",), "c", (1.0, 2.0, 3.0, 4.5)), Block("heading", "h", 2, ("h",))),
        595.2, 842.0,
        (Picture(b"png", 1, ("p",), (0.0, 0.0, 9.0, 9.0), True, "Figure 1: a"), Picture(b"", 2)),
        b"jpeg",
    )
    assert page_of_frame(frame_of_page(page, 7)) == (page, 7)


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": [["script", "x", 0, [], [], "", None]]},
        {"blocks": [["table", "x"]]},
        {"lengths": [3, 5]},
        {"lengths": [-1, 8]},
        {"number": "x"},
        {"size": 4},
        {"pictures": None},
    ],
)
def test_frames_that_are_no_pages(change: dict) -> None:
    frame = frame_of_page(Page(1, (), pictures=(Picture(b"png"),), thumbnail=b"jpeg"), 1)
    with pytest.raises(BrokenFrame):
        page_of_frame(Frame({**frame.said, **change}, frame.blob))


def test_frames_that_are_no_frames() -> None:
    with pytest.raises(BrokenFrame, match="a page of 4294967295"):
        sizes(HEAD.pack(2**32 - 1, 0))
    for text in (b"{", b"[]", b"[" * 100_000):
        with pytest.raises(BrokenFrame):
            frame_of(text, b"")
