"""Ingestion tasks and their files, in SQLite: what was accepted is not forgotten by a crash."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ullage.errors import NotFound

State = Literal["PENDING", "RUNNING", "FINISHED", "FAILED", "CANCELLED"]
OPEN: tuple[State, ...] = ("PENDING", "RUNNING")

_TABLES = """
CREATE TABLE IF NOT EXISTS tasks (
    id TEXT PRIMARY KEY, collection TEXT NOT NULL, state TEXT NOT NULL, options TEXT NOT NULL,
    created_s REAL NOT NULL, updated_s REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL REFERENCES tasks(id) ON DELETE CASCADE,
    name TEXT NOT NULL, sha256 TEXT NOT NULL, bytes INTEGER NOT NULL, state TEXT NOT NULL, error TEXT NOT NULL,
    pages_done INTEGER NOT NULL, pages_total INTEGER NOT NULL, chunks_done INTEGER NOT NULL,
    chunks_total INTEGER NOT NULL, warnings TEXT NOT NULL, attempts INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS files_by_task ON files (task);
CREATE INDEX IF NOT EXISTS files_by_state ON files (state);
"""


@dataclass(frozen=True, slots=True)
class FileRecord:
    """One file of a task. `sha256` is empty for a file that was refused before it was stored.

    `attempts` counts how often it was begun: more than once only when the process died over it.
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
    number: int = 0
    task: str = ""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """`options` are the request's own: how to chunk, whether to replace, custom metadata."""

    id: str
    collection: str
    state: State
    created_s: float
    updated_s: float
    options: dict[str, Any] = field(default_factory=dict)
    files: tuple[FileRecord, ...] = ()


class Ledger:
    """Thread-safe. Every change is on the disk before the call returns. One process at a time may write."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("PRAGMA foreign_keys=ON")
        self._database.executescript(_TABLES)

    def close(self) -> None:
        with self._lock:
            self._database.close()

    def add(self, collection: str, files: Sequence[FileRecord], options: Mapping[str, Any]) -> TaskRecord:
        """A new task with its files, all or nothing; a file that comes with an error is FAILED from the start."""
        task, now = str(uuid.uuid4()), time.time()
        with self._changing() as database:
            database.execute(
                "INSERT INTO tasks VALUES (?, ?, 'PENDING', ?, ?, ?)", (task, collection, json.dumps(options), now, now)
            )
            database.executemany(
                "INSERT INTO files (task, name, sha256, bytes, state, error, pages_done, pages_total, chunks_done,"
                " chunks_total, warnings, attempts) VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, 0, '[]', 0)",
                [(task, f.name, f.sha256, f.bytes, "FAILED" if f.error else "PENDING", f.error) for f in files],
            )
            self._settle(database, task)
        return self.task(task)

    def task(self, task: str) -> TaskRecord:
        """Raises NotFound for an id that was never given out."""
        with self._lock:
            row = self._database.execute("SELECT * FROM tasks WHERE id = ?", (task,)).fetchone()
            files = self._database.execute("SELECT * FROM files WHERE task = ? ORDER BY number", (task,)).fetchall()
        if row is None:
            raise NotFound(f"task {task[:80]!r} is not known: use the task_id that POST /documents gave")
        return TaskRecord(
            id=row["id"],
            collection=row["collection"],
            state=row["state"],
            created_s=row["created_s"],
            updated_s=row["updated_s"],
            options=json.loads(row["options"]),
            files=tuple(_file(item) for item in files),
        )

    def next_open(self) -> FileRecord | None:
        """The oldest file that is not finished. One that was RUNNING when the process died comes first again."""
        with self._lock:
            row = self._database.execute(
                "SELECT * FROM files WHERE state IN ('RUNNING', 'PENDING') ORDER BY number LIMIT 1"
            ).fetchone()
        return None if row is None else _file(row)

    def open_files(self, collection: str) -> list[FileRecord]:
        """Files of a collection that wait or run."""
        with self._lock:
            rows = self._database.execute(
                "SELECT files.* FROM files JOIN tasks ON tasks.id = files.task WHERE tasks.collection = ?"
                " AND files.state IN ('RUNNING', 'PENDING') ORDER BY number",
                (collection,),
            ).fetchall()
        return [_file(row) for row in rows]

    def uses(self, sha256: str) -> int:
        """How many unfinished files still need these bytes."""
        with self._lock:
            row = self._database.execute(
                "SELECT COUNT(*) FROM files WHERE sha256 = ? AND state IN ('RUNNING', 'PENDING')", (sha256,)
            ).fetchone()
        return int(row[0])

    def begin(self, number: int) -> None:
        """Note one more attempt."""
        with self._changing() as database:
            database.execute(
                "UPDATE files SET state = 'RUNNING', attempts = attempts + 1"
                " WHERE number = ? AND state IN ('RUNNING', 'PENDING')",
                (number,),
            )
            self._settle(database, self._task_of(database, number))

    def progress(self, number: int, *, pages: tuple[int, int], chunks: tuple[int, int]) -> None:
        """(done, total) of each, for a file that was begun."""
        with self._changing() as database:
            database.execute(
                "UPDATE files SET pages_done = ?, pages_total = ?, chunks_done = ?, chunks_total = ?"
                " WHERE number = ? AND state = 'RUNNING'",
                (*pages, *chunks, number),
            )

    def finish(self, number: int, *, error: str = "", warnings: Sequence[str] = ()) -> None:
        """FINISHED, or FAILED with the reason. The first outcome stays."""
        with self._changing() as database:
            database.execute(
                "UPDATE files SET state = ?, error = ?, warnings = ?"
                " WHERE number = ? AND state IN ('RUNNING', 'PENDING')",
                ("FAILED" if error else "FINISHED", error, json.dumps(list(warnings)), number),
            )
            self._settle(database, self._task_of(database, number))

    def cancel_collection(self, collection: str) -> int:
        """Files that will not be ingested because their collection is gone."""
        waiting = self.open_files(collection)
        with self._changing() as database:
            for file in waiting:
                database.execute(
                    "UPDATE files SET state = 'CANCELLED', error = ? WHERE number = ?",
                    (f"Collection {collection} was deleted before {file.name} was ingested", file.number),
                )
                self._settle(database, file.task)
        return len(waiting)

    @staticmethod
    def _task_of(database: sqlite3.Connection, number: int) -> str:
        return str(database.execute("SELECT task FROM files WHERE number = ?", (number,)).fetchone()[0])

    @staticmethod
    def _settle(database: sqlite3.Connection, task: str) -> None:
        """A task is what its files are; it failed only when every file did."""
        rows = database.execute("SELECT state FROM files WHERE task = ?", (task,)).fetchall()
        states = [row["state"] for row in rows]
        database.execute(
            "UPDATE tasks SET state = ?, updated_s = ? WHERE id = ?", (task_state(states), time.time(), task)
        )

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


def task_state(states: Sequence[str]) -> State:
    """The state of a task whose files are in these states."""
    if any(state in OPEN for state in states):
        return "PENDING" if all(state == "PENDING" for state in states) else "RUNNING"
    if states and all(state == "CANCELLED" for state in states):
        return "CANCELLED"
    if states and all(state in ("FAILED", "CANCELLED") for state in states):
        return "FAILED"
    return "FINISHED"


def _file(row: sqlite3.Row) -> FileRecord:
    return FileRecord(
        name=row["name"],
        sha256=row["sha256"],
        bytes=row["bytes"],
        state=row["state"],
        error=row["error"],
        pages_done=row["pages_done"],
        pages_total=row["pages_total"],
        chunks_done=row["chunks_done"],
        chunks_total=row["chunks_total"],
        warnings=tuple(json.loads(row["warnings"])),
        attempts=row["attempts"],
        number=row["number"],
        task=row["task"],
    )
