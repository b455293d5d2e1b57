"""Ingestion tasks and their files: what was accepted is not forgotten by a crash."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ullage.errors import NotFound
from ullage.store.database import Place, Row, Session, open_database

State = Literal["PENDING", "RUNNING", "FINISHED", "FAILED", "CANCELLED"]
STATES: tuple[State, ...] = get_args(State)
OPEN: tuple[State, ...] = ("PENDING", "RUNNING")
NAMES_PER_QUERY = 400

_TABLES = """
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY, collection TEXT NOT NULL, state TEXT NOT NULL, options TEXT NOT NULL,
    created_s DOUBLE PRECISION NOT NULL, updated_s DOUBLE PRECISION NOT NULL
);
CREATE TABLE IF NOT EXISTS files (
    number {counter}, task TEXT NOT NULL REFERENCES tasks(id) ON DELETE CASCADE,
    name TEXT NOT NULL, sha256 TEXT NOT NULL, bytes BIGINT NOT NULL, state TEXT NOT NULL, error TEXT NOT NULL,
    pages_done INTEGER NOT NULL, pages_total INTEGER NOT NULL, chunks_done INTEGER NOT NULL,
    chunks_total INTEGER NOT NULL, warnings TEXT NOT NULL, attempts INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS files_by_task_state ON files (task, state);
CREATE INDEX IF NOT EXISTS files_by_state ON files (state, number);
CREATE INDEX IF NOT EXISTS files_by_turn ON files (state, attempts DESC, number);
CREATE INDEX IF NOT EXISTS files_by_name ON files (name, state);
CREATE INDEX IF NOT EXISTS files_by_hash ON files (sha256, state);
"""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a task. `sha256` is empty for a file that was refused before it was stored.

    `attempts` counts how often it was begun: more than once only when the process died over it. `wish` is what the
    uploader wants of this one file. `left`: it was begun and is not finished, so something of it may be in the
    collection.
    """

    name: str
    sha256: str = ""
    bytes: int = 0
    state: State = "PENDING"
    error: str = ""
    pages_done: int = 0
    pages_total: int = 0
    chunks_done: int = 0
    chunks_total: int = 0
    warnings: tuple[str, ...] = ()
    attempts: int = 0
    wish: dict[str, Any] = field(default_factory=dict)
    left: bool = False
    number: int = 0
    task: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """`options` are the request's own: how to chunk, whether to replace."""

    id: str
    collection: str
    state: State
    created_s: float
    updated_s: float
    options: dict[str, Any] = field(default_factory=dict)
    files: tuple[FileRecord, ...] = ()


class Ledger:
    """Thread-safe. Every change is on the disk before the call returns. One process at a time may write."""

    def __init__(self, place: Place) -> None:
        self._database = open_database(place, _TABLES)
        self._database.add_column("files", "wish", "TEXT NOT NULL DEFAULT '{}'")
        self._database.add_column("files", "left", "INTEGER NOT NULL DEFAULT 0")

    def close(self) -> None:
        self._database.close()

    def ping(self) -> None:
        """Raises DependencyDown when its database is away."""
        self._database.ping()

    def add(self, collection: str, files: Sequence[FileRecord], options: Mapping[str, Any]) -> TaskRecord:
        """A new task with its files, all or nothing; a file that comes with an error is FAILED from the start."""
        return self.task(self._add(collection, files, options))

    def _add(self, collection: str, files: Sequence[FileRecord], options: Mapping[str, Any]) -> str:
        """The new task's id."""
        task, now = str(uuid.uuid4()), time.time()
        rows = [(task, f.name, f.sha256, f.bytes, "FAILED" if f.error else "PENDING", f.error, json.dumps(f.wish))
                for f in files]
        with self._database.changing() as database:
            database.execute(
                "INSERT INTO tasks VALUES (?, ?, 'PENDING', ?, ?, ?)", (task, collection, json.dumps(options), now, now)
            )
            database.executemany(
                "INSERT INTO files (task, name, sha256, bytes, state, error, pages_done, pages_total, chunks_done,"
                " chunks_total, warnings, attempts, wish) VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 0, '[]', 0, ?)", rows
            )
            settle(database, task)
        return task

    def task(self, task: str) -> TaskRecord:
        """The task and its files as they were at one moment. Raises NotFound for an id that was never given out."""
        with self._database.reading() as database:
            files = database.execute("SELECT * FROM files WHERE task = ? ORDER BY number", (task,)).fetchall()
            return _task(database, task, tuple(map(file_of, files)))

    def heading(self, task: str) -> TaskRecord:
        """The task without its files."""
        with self._database.reading() as database:
            return _task(database, task)

    def tasks(self, limit: int) -> list[tuple[TaskRecord, dict[str, int]]]:
        """The newest tasks without their files, each with its number of files by state."""
        found = self._database.rows("SELECT id FROM tasks ORDER BY created_s DESC LIMIT ?", (limit,))
        return [(self.heading(row["id"]), self.counts(row["id"])) for row in found]

    def counts(self, task: str) -> dict[str, int]:
        rows = self._database.rows("SELECT state, COUNT(*) AS n FROM files WHERE task = ? GROUP BY state", (task,))
        return {str(row["state"]): int(row["n"]) for row in rows}

    def file(self, number: int) -> FileRecord:
        row = self._database.row("SELECT * FROM files WHERE number = ?", (number,))
        if row is None:
            raise NotFound(f"file {number} is not in the ledger")
        return file_of(row)

    def next_open(self) -> FileRecord | None:
        """The oldest file that is not finished. One that was RUNNING when the process died comes first again."""
        found = self.waiting(1)
        return found[0][0] if found else None

    def waiting(self, limit: int) -> list[tuple[FileRecord, TaskRecord]]:
        """The oldest files that are not finished, those in work among them, each with its task's heading; those begun
        most often come first."""
        rows: list[Row] = []
        with self._database.reading() as database:
            for state in ("RUNNING", "PENDING"):  # an index has each in order, however many wait
                rows += database.execute(
                    "SELECT * FROM files WHERE state = ? ORDER BY attempts DESC, number LIMIT ?",
                    (state, limit - len(rows)),
                ).fetchall()
        headings = {str(task): self.heading(task) for task in {row["task"] for row in rows}}
        return [(file_of(row), headings[str(row["task"])]) for row in rows]

    def open_files(self, collection: str) -> list[FileRecord]:
        """Files of a collection that wait or run."""
        rows = self._database.rows(
            "SELECT files.* FROM files JOIN tasks ON tasks.id = files.task WHERE tasks.collection = ?"
            " AND files.state IN ('RUNNING', 'PENDING') ORDER BY number", (collection,),
        )
        return [file_of(row) for row in rows]

    def open_names(self, collection: str, names: Sequence[str]) -> set[str]:
        """Those of the names that wait or run in a collection."""
        found: set[str] = set()
        for begin in range(0, len(names), NAMES_PER_QUERY):
            some = names[begin : begin + NAMES_PER_QUERY]
            rows = self._database.rows(
                "SELECT DISTINCT name FROM files JOIN tasks ON tasks.id = files.task WHERE tasks.collection = ?"  # noqa: S608
                f" AND name IN ({', '.join('?' * len(some))}) AND files.state IN ('RUNNING', 'PENDING')",
                (collection, *some),
            )
            found.update(str(row["name"]) for row in rows)
        return found

    def open_hashes(self) -> set[str]:
        """The bytes that unfinished files still need."""
        rows = self._database.rows("SELECT DISTINCT sha256 FROM files WHERE state IN ('RUNNING', 'PENDING')")
        return {str(row["sha256"]) for row in rows}

    def backlog(self) -> tuple[int, int]:
        """Files that are not finished, and their bytes."""
        row = self._database.row(
            "SELECT COUNT(*) AS n, COALESCE(SUM(bytes), 0) AS size FROM files WHERE state IN ('RUNNING', 'PENDING')"
        )
        assert row is not None
        return int(row["n"]), int(row["size"])

    def uses(self, sha256: str, since_s: float = float("inf")) -> int:
        """How many files may still need these bytes: unfinished ones, and lost ones of tasks changed after `since_s`,
        which may be tried again."""
        row = self._database.row(
            "SELECT COUNT(*) AS n FROM files JOIN tasks ON tasks.id = files.task WHERE sha256 = ?"
            " AND (files.state IN ('RUNNING', 'PENDING')"
            " OR (files.state IN ('FAILED', 'CANCELLED') AND tasks.updated_s >= ?))", (sha256, since_s),
        )
        assert row is not None
        return int(row["n"])

    def last_failure(self, collection: str) -> str:
        """Why a file of the newest task of a collection failed, if one did."""
        row = self._database.row(
            "SELECT error FROM files WHERE state = 'FAILED' AND task = (SELECT id FROM tasks WHERE collection = ?"
            " ORDER BY created_s DESC LIMIT 1) ORDER BY number DESC LIMIT 1", (collection,),
        )
        return "" if row is None else str(row["error"])

    def begin(self, number: int) -> bool:
        """Note one more attempt. False for a file that has come to its end: it was cancelled meanwhile."""
        with self._database.changing() as database:
            begun = database.execute(
                "UPDATE files SET state = 'RUNNING', attempts = attempts + 1, \"left\" = 1"
                " WHERE number = ? AND state IN ('RUNNING', 'PENDING')", (number,),
            ).rowcount
            settle(database, _task_of(database, number))
        return bool(begun)

    def put_back(self, number: int) -> None:
        """A file whose work was stopped on purpose waits again, and the attempt does not count against it."""
        with self._database.changing() as database:
            database.execute(
                "UPDATE files SET state = 'PENDING', attempts = CASE WHEN attempts > 0 THEN attempts - 1 ELSE 0 END"
                " WHERE number = ? AND state = 'RUNNING'", (number,),
            )
            settle(database, _task_of(database, number))

    def progress(self, number: int, *, pages: tuple[int, int], chunks: tuple[int, int]) -> None:
        """(done, total) of each, for a file that was begun."""
        with self._database.changing() as database:
            database.execute(
                "UPDATE files SET pages_done = ?, pages_total = ?, chunks_done = ?, chunks_total = ?"
                " WHERE number = ? AND state = 'RUNNING'", (*pages, *chunks, number),
            )

    def finish(self, number: int, *, error: str = "", warnings: Sequence[str] = ()) -> bool:
        """FINISHED, or FAILED with the reason. The first outcome stays: False when there was one."""
        said = ("FAILED" if error else "FINISHED", error, json.dumps(list(warnings)), int(bool(error)))
        with self._database.changing() as database:
            changed = database.execute(
                "UPDATE files SET state = ?, error = ?, warnings = ?, \"left\" = \"left\" * ?"
                " WHERE number = ? AND state IN ('RUNNING', 'PENDING')", (*said, number),
            ).rowcount
            settle(database, _task_of(database, number))
        return bool(changed)

    def cancel(self, task: str, name: str | None = None) -> list[FileRecord]:
        """The files of a task that are not ingested any more, or the one called `name`. Raises NotFound."""
        found = self.task(task).files
        files = [file for file in found if file.state in OPEN and name in (None, file.name)]
        if name is not None and not any(file.name == name for file in found):
            raise NotFound(f"task {task} has no file {name[:80]!r}: GET /status lists them")
        return self._cancel(files, "{name} was cancelled before it was ingested")

    def cancel_collection(self, collection: str) -> int:
        """Files that will not be ingested because their collection is gone."""
        said = f"Collection {collection} was deleted before {{name}} was ingested"
        return len(self._cancel(self.open_files(collection), said))

    def _cancel(self, files: Sequence[FileRecord], said: str) -> list[FileRecord]:
        with self._database.changing() as database:
            done = [file for file in files if database.execute(
                "UPDATE files SET state = 'CANCELLED', error = ?"
                " WHERE number = ? AND state IN ('RUNNING', 'PENDING')",
                (said.replace("{name}", file.name), file.number),
            ).rowcount]
            for task in {file.task for file in done}:
                settle(database, task)
        return done

    def left_behind(self) -> list[tuple[str, FileRecord]]:
        """Lost files, each with its collection, of which something may still be in there, unless the same bytes came
        in later under the same name."""
        rows = self._database.rows(
            "SELECT files.*, tasks.collection AS collection FROM files JOIN tasks ON tasks.id = files.task"
            " WHERE files.\"left\" = 1 AND files.state IN ('FAILED', 'CANCELLED') AND NOT EXISTS ("
            "  SELECT 1 FROM files AS later JOIN tasks AS theirs ON theirs.id = later.task"
            "  WHERE later.sha256 = files.sha256 AND later.name = files.name AND later.number != files.number"
            "  AND theirs.collection = tasks.collection AND later.state IN ('RUNNING', 'PENDING', 'FINISHED'))"
        )
        return [(str(row["collection"]), file_of(row)) for row in rows]

    def cleaned(self, number: int) -> None:
        with self._database.changing() as database:
            database.execute("UPDATE files SET \"left\" = 0 WHERE number = ?", (number,))

    def retry(self, numbers: Sequence[int]) -> int:
        """Lost files that wait again, from the start; how many."""
        with self._database.changing() as database:
            done = [number for number in numbers if database.execute(
                "UPDATE files SET state = 'PENDING', error = '', warnings = '[]', attempts = 0,"
                " pages_done = 0, pages_total = 0, chunks_done = 0, chunks_total = 0"
                " WHERE number = ? AND state IN ('FAILED', 'CANCELLED')", (number,),
            ).rowcount]
            for task in {_task_of(database, number) for number in done}:
                settle(database, task)
        return len(done)


def _task_of(database: Session, number: int) -> str:
    return str(database.execute("SELECT task FROM files WHERE number = ?", (number,)).fetchone()["task"])


def settle(database: Session, task: str) -> None:
    """A task is what its files are; it failed only when every file did. It costs the same however many there are."""
    state = task_state([state for state in STATES if database.execute(
        "SELECT 1 FROM files WHERE task = ? AND state = ? LIMIT 1", (task, state)).fetchone()])
    database.execute("UPDATE tasks SET state = ?, updated_s = ? WHERE id = ?", (state, time.time(), task))


def task_state(states: Sequence[str]) -> State:
    """The state of a task whose files are in these states."""
    if any(state in OPEN for state in states):
        return "PENDING" if all(state == "PENDING" for state in states) else "RUNNING"
    if states and all(state == "CANCELLED" for state in states):
        return "CANCELLED"
    if states and all(state in ("FAILED", "CANCELLED") for state in states):
        return "FAILED"
    return "FINISHED"


def _task(database: Session, task: str, files: tuple[FileRecord, ...] = ()) -> TaskRecord:
    row = database.execute("SELECT * FROM tasks WHERE id = ?", (task,)).fetchone()
    if row is None:
        raise NotFound(f"task {task[:80]!r} is not known: use the task_id that POST /documents gave")
    return TaskRecord(row["id"], row["collection"], row["state"], row["created_s"], row["updated_s"],
                      json.loads(row["options"]), files)


def file_of(row: Row) -> FileRecord:
    said = {name: row[name] for name in FileRecord.__dataclass_fields__}
    return FileRecord(**{**said, "warnings": tuple(json.loads(row["warnings"])), "wish": json.loads(row["wish"]),
                         "left": bool(row["left"])})
