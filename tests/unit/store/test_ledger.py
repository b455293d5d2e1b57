"""Tasks that survive the process."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ullage.errors import NotFound
from ullage.store import FileRecord, Ledger
from ullage.store.ledger import task_state


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


def files(*names: str) -> list[FileRecord]:
    return [FileRecord(name, f"{n:064x}", 10 + n) for n, name in enumerate(names)]


def test_a_task_goes_its_way(ledger: Ledger) -> None:
    task = ledger.add("c", files("a.md", "b.md"), {"chunk_tokens": 50})
    assert (task.state, task.options) == ("PENDING", {"chunk_tokens": 50})
    assert [f.name for f in task.files] == ["a.md", "b.md"]
    first = ledger.next_open()
    assert first is not None
    assert first.name == "a.md"
    assert first.bytes == 10
    ledger.begin(first.number)
    ledger.progress(first.number, pages=(1, 3), chunks=(2, 9))
    running = ledger.task(task.id)
    assert running.state == "RUNNING"
    assert (running.files[0].pages_done, running.files[0].chunks_total) == (1, 9)
    ledger.finish(first.number, warnings=["page 2 has no text"])
    second = ledger.next_open()
    assert second is not None
    assert second.name == "b.md"
    ledger.finish(second.number, error="broken")
    done = ledger.task(task.id)
    assert done.state == "FINISHED"
    assert [(f.state, f.error, f.warnings) for f in done.files] == [
        ("FINISHED", "", ("page 2 has no text",)), ("FAILED", "broken", ())
    ]
    assert ledger.next_open() is None


def test_the_first_outcome_stays(ledger: Ledger) -> None:
    task = ledger.add("c", files("a.md"), {})
    number = task.files[0].number
    ledger.finish(number, error="broken")
    ledger.finish(number)
    ledger.begin(number)
    ledger.progress(number, pages=(1, 1), chunks=(1, 1))
    assert ledger.task(task.id).files[0].state == "FAILED"
    assert ledger.task(task.id).state == "FAILED"


def test_a_refused_file_is_failed_from_the_start(ledger: Ledger) -> None:
    task = ledger.add("c", [FileRecord("x.csv", error="Unsupported file type"), *files("a.md")], {})
    assert task.state == "RUNNING"
    following = ledger.next_open()
    assert following is not None
    assert following.name == "a.md"
    assert ledger.add("c", [FileRecord("x.csv", error="no")], {}).state == "FAILED"


def test_a_running_file_is_resumed_first(ledger: Ledger, tmp_path: Path) -> None:
    ledger.add("c", files("a.md", "b.md"), {})
    number = ledger.task(ledger.add("d", files("z.md"), {}).id).files[0].number
    first = ledger.next_open()
    assert first is not None
    ledger.begin(first.number)
    ledger.close()
    again = Ledger(tmp_path / "ledger.db")
    resumed = again.next_open()
    assert resumed is not None
    assert (resumed.number, resumed.state, resumed.attempts) == (first.number, "RUNNING", 1)
    assert number > first.number
    again.close()


def test_a_killed_process_loses_no_committed_task(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from ullage.store import FileRecord, Ledger;"
        "l = Ledger(Path(sys.argv[1])); print(l.add('c', [FileRecord('a.md', 'f' * 64)], {}).id, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "ledger.db"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    ledger = Ledger(path)
    assert ledger.task(done.stdout.strip()).files[0].name == "a.md"
    ledger.close()


def test_cancelling_a_collection_and_counting_uses(ledger: Ledger) -> None:
    one = ledger.add("c", files("a.md", "b.md"), {})
    other = ledger.add("d", files("a.md"), {})
    assert ledger.uses(f"{0:064x}") == 2
    assert ledger.cancel_collection("c") == 2
    assert ledger.task(one.id).state == "CANCELLED"
    assert "deleted before a.md" in ledger.task(one.id).files[0].error
    assert ledger.task(other.id).state == "PENDING"
    assert ledger.uses(f"{0:064x}") == 1
    assert [f.name for f in ledger.open_files("d")] == ["a.md"]


def test_an_unknown_task_is_not_found(ledger: Ledger) -> None:
    with pytest.raises(NotFound, match="'nope' is not known"):
        ledger.task("nope")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["PENDING", "PENDING"], "PENDING"),
        (["FINISHED", "PENDING"], "RUNNING"),
        (["RUNNING"], "RUNNING"),
        (["FINISHED", "FAILED"], "FINISHED"),
        (["FAILED", "CANCELLED"], "FAILED"),
        (["CANCELLED"], "CANCELLED"),
        ([], "FINISHED"),
    ],
)
def test_the_state_of_a_task(states: list[str], expected: str) -> None:
    assert task_state(states) == expected
