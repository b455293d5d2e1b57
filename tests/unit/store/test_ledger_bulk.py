"""Tasks of very many files: begun together, ended some hundreds at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ullage.store import FileRecord
from ullage.store.database import Place
from ullage.store.ledger_bulk import FILES_PER_READ, BulkLedger, Ending


@pytest.fixture
def ledger(place: Place) -> Iterator[BulkLedger]:
    ledger = BulkLedger(place)
    yield ledger
    ledger.close()


def files(*names: str) -> list[FileRecord]:
    return [FileRecord(name, wish={"path": f"/there/{name}"}) for name in names]


def test_what_was_begun_comes_in_order_with_its_task_whatever_other_collections_have(ledger: BulkLedger) -> None:
    many = [f"{number:05}.txt" for number in range(FILES_PER_READ + 3)]
    ledger.accept("c", files(*many), {"chunk_tokens": 7})
    ledger.accept("d", files("other.txt"), {})
    ledger.accept("c", files("last.txt"), {"chunk_tokens": 9})
    assert list(ledger.begun("c")) == []
    assert ledger.begin_open("c") == len(many) + 1
    found = list(ledger.begun("c"))
    assert [file.name for file, _ in found] == [*many, "last.txt"]
    assert {task.options["chunk_tokens"] for file, task in found if file.name in many} == {7}
    assert {(file.attempts, file.left, file.wish["path"]) for file, _ in found[-1:]} == {(1, True, "/there/last.txt")}
    assert [file.state for file in ledger.open_files("d")] == ["PENDING"]


def test_endings_are_counted_once_and_the_first_stays(ledger: BulkLedger) -> None:
    task = ledger.accept("c", files("a.txt", "b.txt", "c.txt"), {})
    ledger.begin_open("c")
    a, b, c = (file.number for file, _ in ledger.begun("c"))
    assert ledger.finish_many([Ending(a, chunks=2, sha256="f" * 64), Ending(b, error="broken")]) == 2
    assert ledger.finish_many([Ending(a, error="late"), Ending(b), Ending(10_000)]) == 0
    assert (ledger.heading(task).state, ledger.open_tasks("c")) == (
        "RUNNING", {task: {"FINISHED": 1, "FAILED": 1, "RUNNING": 1}})
    assert ledger.finish_many([Ending(c, warnings=("w",))]) == 1
    done = {file.name: file for file in ledger.task(task).files}
    assert (done["a.txt"].state, done["a.txt"].chunks_done, done["a.txt"].sha256) == ("FINISHED", 2, "f" * 64)
    assert (done["b.txt"].state, done["b.txt"].error, done["b.txt"].left) == ("FAILED", "broken", True)
    assert (done["c.txt"].warnings, done["c.txt"].left) == (("w",), False)
    assert ledger.heading(task).state == "FINISHED"
    assert ledger.open_tasks("c") == {}
    assert [file.name for file in ledger.failures([task], 5)] == ["b.txt"]


def test_a_second_run_begins_what_is_open_and_nothing_else(ledger: BulkLedger) -> None:
    ledger.accept("c", files("a.txt", "b.txt"), {})
    ledger.begin_open("c")
    first = next(file for file, _ in ledger.begun("c"))
    ledger.finish_many([Ending(first.number)])
    assert ledger.begin_open("c") == 1
    assert [(file.name, file.attempts) for file, _ in ledger.begun("c")] == [("b.txt", 2)]


def test_no_query_of_a_files_way_reads_all_files_of_its_task(tmp_path: Path) -> None:
    """Counted in steps of SQLite's own machine: a task with a hundred times the files takes hardly more."""
    ledger = BulkLedger(tmp_path / "ledger.db")
    few, many = (steps_of_a_way(ledger, count) for count in (50, 5000))
    ledger.close()
    assert many < 3 * few, (few, many)


def steps_of_a_way(ledger: BulkLedger, count: int) -> int:
    task = ledger.accept(f"c{count}", files(*(f"{number}.txt" for number in range(count))), {})
    for file, _ in ledger.waiting(10):
        ledger.begin(file.number)
    numbers = [row["number"] for row in ledger._database.rows(
        "SELECT number FROM files WHERE task = ? ORDER BY number DESC LIMIT 5", (task,))]
    connection: sqlite3.Connection = ledger._database._connection
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    connection.set_progress_handler(step, 1)
    for number in numbers:
        ledger.begin(number)
        ledger.progress(number, pages=(1, 1), chunks=(1, 1))
        ledger.waiting(10)
        ledger.finish(number)
    connection.set_progress_handler(None, 0)
    ledger.cancel_collection(f"c{count}")
    return steps
