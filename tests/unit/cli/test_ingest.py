from pathlib import Path

import pytest

from ullage.cli.ingest import FILES_AT_ONCE, batches, expand
from ullage.cli.task import FileProgress, merged, task_progress
from ullage.errors import InvalidRequest
from ullage.ingest.answers import status_answer
from ullage.store import FileRecord, TaskRecord


def make(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    return [folder / name for name in names]


def test_folders_become_the_supported_files_below_them(tmp_path):
    make(tmp_path, "b.md", "a.PDF", "deep/c.html", "photo.webp", "Makefile")
    assert [path.name for path in expand([tmp_path])] == ["a.PDF", "b.md", "c.html"]


def test_a_file_that_was_named_is_sent_whatever_its_kind(tmp_path):
    [photo] = make(tmp_path, "photo.webp")
    assert expand([photo, photo]) == [photo]


def test_every_fault_is_told_before_anything_is_sent(tmp_path):
    (tmp_path / "empty").mkdir()
    one, other = make(tmp_path, "x/same.md", "y/same.md")
    with pytest.raises(InvalidRequest) as refused:
        expand([tmp_path / "none.md", tmp_path / "empty", one, other])
    said = refused.value.message
    assert f"{tmp_path / 'none.md'} does not exist" in said
    assert f"{tmp_path / 'empty'} holds no file of a supported type" in said
    assert "2 files are called same.md" in said
    assert said.endswith("nothing was sent")


def test_a_missing_file_is_refused_by_the_command(ullage, tmp_path):
    ran = ullage("ingest", tmp_path / "none.md")
    assert ran.code == 2
    assert "does not exist" in ran.refusal


def test_one_request_carries_no_more_than_the_server_takes(tmp_path):
    files = make(tmp_path, *(f"{i}.md" for i in range(5)))
    assert [len(batch) for batch in batches(files, limit_bytes=8)] == [2, 2, 1]
    assert [len(batch) for batch in batches(files, limit_bytes=1)] == [1, 1, 1, 1, 1]
    many = files * 50
    assert [len(batch) for batch in batches(many, limit_bytes=1 << 20)] == [FILES_AT_ONCE, FILES_AT_ONCE, 50]
    assert list(batches([], 1)) == []


def status(state, *files):
    """What the ingestor says of a task."""
    return status_answer(TaskRecord("t", "c", state, 0.0, 0.0, {}, files), [])


def test_the_ingestors_own_answer_is_understood():
    running = task_progress(status(
        "RUNNING",
        FileRecord("a.pdf", state="FINISHED", pages_done=3, pages_total=3, chunks_done=9, chunks_total=9),
        FileRecord("b.pdf", state="RUNNING", pages_done=1, pages_total=4),
        FileRecord("c.pdf"),
    ))
    assert not running.over
    assert [file.step for file in running.files] == [("embedding", 9, 9), ("reading", 1, 4), ("waiting", 0, 0)]
    assert running.files[0].lines() == ["a.pdf: 9 chunks, 3 pages"]


@pytest.mark.parametrize("state", ["FINISHED", "FAILED", "CANCELLED"])
def test_a_task_that_came_to_an_end_is_over(state):
    assert task_progress(status(state)).over


def test_why_a_file_failed_is_told_once():
    done = task_progress(status(
        "FINISHED",
        FileRecord("scan.pdf", state="FAILED", error="scan.pdf: 3 of 3 pages have no text layer"),
        FileRecord("twice.md", state="FAILED",
                   error="Document twice.md already exists. Use update document API instead."),
        FileRecord("late.md", state="CANCELLED", error="the collection was dropped"),
    ))
    assert [line for file in done.files for line in file.lines()] == [
        "scan.pdf: refused: 3 of 3 pages have no text layer",
        "twice.md: is already there; --update replaces it",
        "late.md: refused: the collection was dropped",
    ]
    assert all(file.failed for file in done.files)


def test_notes_of_a_file_follow_it():
    file = FileProgress("a.pdf", "FINISHED", 1, 1, 1, 1, warnings=("a.pdf: page 2 is empty",))
    assert file.lines() == ["a.pdf: 1 chunk, 1 page", "a.pdf: note: page 2 is empty"]


def test_parts_of_a_large_upload_are_one():
    first = task_progress(status("FINISHED", FileRecord("a")))
    second = task_progress(status("PENDING", FileRecord("b")))
    assert [file.document for file in merged([first, second]).files] == ["a", "b"]
    assert not merged([first, second]).over
