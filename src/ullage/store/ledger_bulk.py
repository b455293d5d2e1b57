"""The ledger by the thousand: what one transaction a file would make slow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ullage.store.ledger import FileRecord, Ledger, TaskRecord, file_of, settle

FILES_PER_READ = 2000


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of the file `number`: FAILED where there is an `error`. `sha256` is of the bytes that were read."""

    number: int
    error: str = ""
    warnings: tuple[str, ...] = ()
    chunks: int = 0
    sha256: str = ""


class BulkLedger(Ledger):
    """Whoever works on a collection in bulk begins all that is open there, and ends files some hundreds at a time."""

    def accept(self, collection: str, files: Sequence[FileRecord], options: Mapping[str, Any]) -> str:
        """A new task's id: all its files are on the disk, or none is."""
        return self._add(collection, files, options)

    def begin_open(self, collection: str) -> int:
        """Note one more attempt for every open file of a collection; how many there are."""
        tasks = [str(row["id"]) for row in self._database.rows(
            "SELECT id FROM tasks WHERE collection = ? AND state IN ('RUNNING', 'PENDING')", (collection,))]
        begun = 0
        with self._database.changing() as database:
            for task in tasks:
                begun += database.execute(
                    "UPDATE files SET state = 'RUNNING', attempts = attempts + 1, \"left\" = 1"
                    " WHERE task = ? AND state IN ('RUNNING', 'PENDING')", (task,),
                ).rowcount
                settle(database, task)
        return begun

    def begun(self, collection: str) -> Iterator[tuple[FileRecord, TaskRecord]]:
        """Files of a collection that were begun and are not finished, each with its task's heading."""
        headings: dict[str, TaskRecord] = {}
        after = 0
        while rows := self._database.rows(
            "SELECT files.* FROM files JOIN tasks ON tasks.id = files.task WHERE files.state = 'RUNNING'"
            " AND files.number > ? AND tasks.collection = ? ORDER BY files.number LIMIT ?",
            (after, collection, FILES_PER_READ),
        ):
            for file in map(file_of, rows):
                if file.task not in headings:
                    headings[file.task] = self.heading(file.task)
                yield file, headings[file.task]
            after = int(rows[-1]["number"])

    def finish_many(self, endings: Sequence[Ending]) -> int:
        """All of them in one transaction; how many were open. The first outcome of a file stays."""
        changed = 0
        with self._database.changing() as database:
            tasks: set[str] = set()
            for end in endings:
                row = database.execute(
                    "UPDATE files SET state = ?, error = ?, warnings = ?, sha256 = ?, chunks_done = ?,"
                    " chunks_total = ?, \"left\" = \"left\" * ? WHERE number = ? AND state IN ('RUNNING', 'PENDING')"
                    " RETURNING task",
                    ("FAILED" if end.error else "FINISHED", end.error, json.dumps(end.warnings), end.sha256, end.chunks,
                     end.chunks, int(bool(end.error)), end.number),
                ).fetchone()
                if row is not None:
                    changed += 1
                    tasks.add(str(row["task"]))
            for task in tasks:
                settle(database, task)
        return changed

    def failures(self, tasks: Sequence[str], limit: int) -> list[FileRecord]:
        """Files of these tasks that failed, in order."""
        found: list[FileRecord] = []
        for task in tasks:
            found += map(file_of, self._database.rows(
                "SELECT * FROM files WHERE task = ? AND state = 'FAILED' ORDER BY number LIMIT ?",
                (task, limit - len(found))))
        return found

    def open_tasks(self, collection: str) -> dict[str, dict[str, int]]:
        """Tasks of a collection with files that are not finished, each with its number of files by state."""
        rows = self._database.rows(
            "SELECT id FROM tasks WHERE collection = ? AND state IN ('RUNNING', 'PENDING') ORDER BY created_s",
            (collection,))
        return {str(row["id"]): self.counts(str(row["id"])) for row in rows}
