"""Tasks that survive the process."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postgres_server import Postgres, written
from ullage.errors import NotFound
from ullage.store import FileRecord, Ledger
from ullage.store.database import Place, Session
from ullage.store.ledger import task_state

TESTS = str(Path(__file__).parents[2])


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    ledger = Ledger(place)
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


def test_a_running_file_is_resumed_first(ledger: Ledger, place: Place) -> None:
    ledger.add("c", files("a.md", "b.md"), {})
    number = ledger.task(ledger.add("d", files("z.md"), {}).id).files[0].number
    first = ledger.next_open()
    assert first is not None
    ledger.begin(first.number)
    ledger.close()
    again = Ledger(place)
    resumed = again.next_open()
    assert resumed is not None
    assert (resumed.number, resumed.state, resumed.attempts) == (first.number, "RUNNING", 1)
    assert number > first.number
    again.close()


def test_a_killed_process_loses_no_committed_task(place: Place) -> None:
    script = (
        f"import os, signal, sys; sys.path.insert(0, {TESTS!r}); from postgres_server import place_of;"
        "from ullage.store import FileRecord, Ledger;"
        "l = Ledger(place_of(sys.argv[1])); print(l.add('c', [FileRecord('a.md', 'f' * 64)], {}).id, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, written(place)], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    ledger = Ledger(place)
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


def test_files_are_cancelled_one_by_one_or_all(ledger: Ledger) -> None:
    task = ledger.add("c", files("a.md", "b.md", "c.md"), {})
    ledger.finish(task.files[2].number)
    assert [file.name for file in ledger.cancel(task.id, "a.md")] == ["a.md"]
    assert ledger.task(task.id).state == "RUNNING"
    assert [file.name for file in ledger.cancel(task.id)] == ["b.md"]
    assert ledger.cancel(task.id) == []
    assert ledger.task(task.id).state == "FINISHED"
    assert ledger.counts(task.id) == {"CANCELLED": 2, "FINISHED": 1}
    with pytest.raises(NotFound, match=r"has no file 'z\.md'"):
        ledger.cancel(task.id, "z.md")
    assert not ledger.finish(task.files[0].number), "the first outcome stays"
    assert not ledger.begin(task.files[0].number)
    assert not ledger.file(task.files[0].number).left


def test_lost_files_wait_again(ledger: Ledger) -> None:
    task = ledger.add("c", files("a.md", "b.md"), {})
    first, second = (file.number for file in task.files)
    ledger.begin(first)
    ledger.progress(first, pages=(1, 1), chunks=(1, 1))
    ledger.finish(first, error="broken", warnings=["w"])
    ledger.finish(second)
    assert ledger.uses(f"{0:064x}") == 0
    assert ledger.uses(f"{0:064x}", since_s=0.0) == 1
    assert ledger.retry([first, second]) == 1
    again = ledger.file(first)
    assert (again.state, again.error, again.warnings, again.attempts, again.pages_done) == ("PENDING", "", (), 0, 0)
    assert ledger.task(task.id).state == "RUNNING"
    assert ledger.uses(f"{1:064x}", since_s=0.0) == 0


def test_what_was_begun_and_lost_is_remembered_until_it_is_cleaned(ledger: Ledger) -> None:
    task = ledger.add("c", files("a.md", "b.md", "never.md"), {})
    for file in task.files[:2]:
        ledger.begin(file.number)
        ledger.put_back(file.number)
    assert ledger.file(task.files[0].number).attempts == 0
    ledger.cancel(task.id)
    assert [(collection, file.name) for collection, file in ledger.left_behind()] == [("c", "a.md"), ("c", "b.md")]
    ledger.cleaned(task.files[0].number)
    again = ledger.add("c", files("z.md", "b.md"), {})
    assert ledger.left_behind() == [], "the same bytes came again under the same name"
    ledger.cancel(again.id)
    assert [file.name for _, file in ledger.left_behind()] == ["b.md"]


def test_the_backlog_and_the_order_of_work(ledger: Ledger) -> None:
    assert ledger.backlog() == (0, 0)
    ledger.add("c", files("a.md", "b.md"), {})
    suspect = ledger.add("c", files("s.md"), {}).files[0].number
    assert ledger.backlog() == (3, 31)
    assert ledger.open_names("c", ["a.md", "z.md", *map(str, range(900))]) == {"a.md"}
    assert ledger.open_names("d", ["a.md"]) == set()
    for _ in range(2):
        ledger.begin(suspect)
    assert [(file.name, heading.collection) for file, heading in ledger.waiting(2)] == [("s.md", "c"), ("a.md", "c")]


def test_a_ledger_of_an_earlier_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    old = sqlite3.connect(path)
    old.executescript(
        "CREATE TABLE tasks (id TEXT PRIMARY KEY, collection TEXT NOT NULL, state TEXT NOT NULL, options TEXT NOT NULL,"
        " created_s REAL NOT NULL, updated_s REAL NOT NULL);"
        "CREATE TABLE files (number INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL REFERENCES tasks(id) ON"
        " DELETE CASCADE, name TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, state TEXT NOT NULL,"
        " error TEXT NOT NULL, pages_done INTEGER NOT NULL, pages_total INTEGER NOT NULL, chunks_done INTEGER NOT NULL,"
        " chunks_total INTEGER NOT NULL, warnings TEXT NOT NULL, attempts INTEGER NOT NULL);"
        "INSERT INTO tasks VALUES ('t', 'c', 'PENDING', '{}', 1, 1);"
        "INSERT INTO files VALUES (1, 't', 'a.md', 'f', 3, 'PENDING', '', 0, 0, 0, 0, '[]', 0);"
    )
    old.close()
    for _ in range(2):
        ledger = Ledger(path)
        assert (ledger.task("t").files[0].name, ledger.task("t").files[0].wish) == ("a.md", {})
        ledger.close()


class Interrupted:
    """A reader's session, with something that happens just before one of its queries."""

    def __init__(self, session: Session, before: str, happens) -> None:
        self._session, self._before, self._happens = session, before, happens

    def execute(self, query: str, values=()):
        if query.startswith(self._before):
            self._happens()
        return self._session.execute(query, values)


def test_a_task_and_its_files_are_of_one_moment(
    ledger: Ledger, place: Place, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The last file ends between the two queries of a reader: it sees the task before or after, not half of each."""
    task = ledger.add("c", files("a.md"), {})
    ledger.begin(task.files[0].number)
    ends = ["UPDATE files SET state = 'FINISHED'", "UPDATE tasks SET state = 'FINISHED'"]
    happened: list[str] = []

    def meanwhile() -> None:
        for query in ends:
            if isinstance(place, Path):
                with sqlite3.connect(place) as other:
                    other.execute(query)
                other.close()
            else:
                server: Postgres = request.getfixturevalue("postgres_server")
                server.do(query.replace("UPDATE ", "UPDATE ullage_ingest."), written(place))
            happened.append(query)

    reading = ledger._database.reading

    @contextmanager
    def interrupted() -> Iterator[Interrupted]:
        with reading() as session:
            yield Interrupted(session, "SELECT * FROM tasks", meanwhile)

    monkeypatch.setattr(ledger._database, "reading", interrupted)
    seen = ledger.task(task.id)
    monkeypatch.undo()
    assert happened == ends
    assert (seen.state, seen.files[0].state) == ("RUNNING", "RUNNING")
    assert ledger.task(task.id).state == "FINISHED"


def test_sizes_beyond_32_bits_and_times_come_back_as_they_were(ledger: Ledger) -> None:
    task = ledger.add("c", [FileRecord("film.mp4", "f" * 64, 5 << 30), FileRecord("b.md", "e" * 64, 6 << 30)], {})
    assert [file.bytes for file in ledger.task(task.id).files] == [5 << 30, 6 << 30]
    assert ledger.backlog() == (2, 11 << 30)
    assert ledger.heading(task.id).created_s == task.created_s
    assert task.created_s % 1e-3, "a time that is rounded to 4 bytes would have lost this"
    assert ledger.uses("f" * 64, task.updated_s) == 1


def test_no_letter_of_a_name_or_a_reason_keeps_a_file_out(ledger: Ledger, place: Place) -> None:
    """PostgreSQL's texts hold no NUL: it stands as U+FFFD there, also where the name is looked for."""
    names = ["a\0b.md", "100 %.md", "what?.md", "it's.md", "\\'; --.md", "ж🜁.md"]
    task = ledger.add("c\0%s", files(*names), {"note": "\0 % ?"})
    kept = names if isinstance(place, Path) else [name.replace("\0", "\ufffd") for name in names]
    assert [file.name for file in task.files] == kept
    assert ledger.open_names("c\0%s", names) == {*kept}
    assert task.options == {"note": "\0 % ?"}
    ledger.finish(task.files[0].number, error="broken \0 at 5 %?", warnings=["\0"])
    done = ledger.file(task.files[0].number)
    assert done.error == ("broken \0 at 5 %?" if isinstance(place, Path) else "broken \ufffd at 5 %?")
    assert done.warnings == ("\0",)
    assert [file.name for file in ledger.cancel(task.id, kept[1])] == [kept[1]]
    assert ledger.cancel_collection("c\0%s") == len(names) - 2


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
