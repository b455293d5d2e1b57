"""Summaries of documents: asked for, being made, and made. Kept where tasks are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ullage.store.database import Place, Row, open_database

SummaryState = Literal["PENDING", "IN_PROGRESS", "SUCCESS", "FAILED"]

_TABLES = """
CREATE TABLE IF NOT EXISTS summaries (
    collection TEXT NOT NULL, document TEXT NOT NULL, state TEXT NOT NULL, options TEXT NOT NULL, text TEXT NOT NULL,
    error TEXT NOT NULL, message TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER NOT NULL,
    created_s DOUBLE PRECISION NOT NULL, started_s DOUBLE PRECISION, updated_s DOUBLE PRECISION NOT NULL,
    completed_s DOUBLE PRECISION,
    PRIMARY KEY (collection, document)
);
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """`done` of `total` pieces were read; `message` says what is going on, `error` why there is none."""

    collection: str
    document: str
    state: SummaryState = "PENDING"
    options: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    error: str = ""
    message: str = ""
    done: int = 0
    total: int = 0
    created_s: float = 0.0
    started_s: float | None = None
    updated_s: float = 0.0
    completed_s: float | None = None

    @property
    def over(self) -> bool:
        return self.state in ("SUCCESS", "FAILED")


class SummaryLedger:
    """Thread-safe. Every change is on the disk before the call returns. One process at a time may write."""

    def __init__(self, place: Place) -> None:
        self._database = open_database(place, _TABLES)

    def close(self) -> None:
        self._database.close()

    def ping(self) -> None:
        """Raises DependencyDown when its database is away."""
        self._database.ping()

    def ask(self, collection: str, document: str, options: Mapping[str, Any]) -> None:
        """One that was there is made anew."""
        now = time.time()
        with self._database.changing() as database:
            database.execute("DELETE FROM summaries WHERE collection = ? AND document = ?", (collection, document))
            database.execute(
                "INSERT INTO summaries VALUES (?, ?, 'PENDING', ?, '', '', '', 0, 0, ?, NULL, ?, NULL)",
                (collection, document, json.dumps(dict(options)), now, now),
            )

    def find(self, collection: str, document: str) -> Summary | None:
        row = self._database.row(
            "SELECT * FROM summaries WHERE collection = ? AND document = ?", (collection, document)
        )
        return None if row is None else summary_of(row)

    def next_open(self) -> Summary | None:
        """The oldest that is not made; one that was in work when the process died comes first again."""
        row = self._database.row("SELECT * FROM summaries WHERE state IN ('PENDING', 'IN_PROGRESS')"
                                 " ORDER BY state = 'PENDING', created_s LIMIT 1")
        return None if row is None else summary_of(row)

    def progress(self, summary: Summary, done: int, total: int, message: str) -> None:
        now = time.time()
        self._change(summary, "state = 'IN_PROGRESS', done = ?, total = ?, message = ?, updated_s = ?,"
                              " started_s = COALESCE(started_s, ?)", (done, total, message, now, now))

    def finish(self, summary: Summary, *, text: str = "", error: str = "", message: str = "") -> None:
        now = time.time()
        self._change(summary, "state = ?, text = ?, error = ?, message = ?, updated_s = ?, completed_s = ?",
                     ("FAILED" if error else "SUCCESS", text, error, message, now, now))

    def _change(self, summary: Summary, columns: str, values: tuple[Any, ...]) -> None:
        """Nothing when it was asked for anew, or is gone, since."""
        with self._database.changing() as database:
            database.execute(
                f"UPDATE summaries SET {columns}"  # noqa: S608
                " WHERE collection = ? AND document = ? AND created_s = ? AND state IN ('PENDING', 'IN_PROGRESS')",
                (*values, summary.collection, summary.document, summary.created_s),
            )

    def forget(self, collection: str, document: str | None = None) -> None:
        """That of a document, or all of a collection."""
        with self._database.changing() as database:
            if document:
                database.execute("DELETE FROM summaries WHERE collection = ? AND document = ?", (collection, document))
            else:
                database.execute("DELETE FROM summaries WHERE collection = ?", (collection,))


def summary_answer(
    collection: str, document: str, found: Summary | None, written: Callable[[float], str]
) -> tuple[dict[str, Any], int]:
    """The contract's body of `GET /summary`, which ingestor and RAG server both have, and the HTTP status that goes
    with it. `written` writes a time (seconds since the epoch)."""
    body: dict[str, Any] = {"file_name": document, "collection_name": collection, "summary": None, "error": None,
                            "started_at": None, "updated_at": None, "completed_at": None, "progress": None}
    if found is None:
        said = (f"Summary for {document} not found in collection {collection}: upload the document with "
                "generate_summary=true")
        return {**body, "message": said, "status": "NOT_FOUND", "error": said}, 404
    for name, seconds in (("started_at", found.started_s), ("updated_at", found.updated_s),
                          ("completed_at", found.completed_s)):
        body[name] = None if seconds is None else written(seconds)
    body |= {"status": found.state, "summary": found.text or None, "error": found.error or None}
    if found.state == "SUCCESS":
        return {**body, "message": "Summary retrieved successfully."}, 200
    if found.state == "FAILED":
        return {**body, "message": f"Summary generation failed: {found.error}"}, 500
    doing = found.message or "waiting for its turn"
    progress = {"current": found.done, "total": found.total, "message": doing}
    return {**body, "message": f"Summary generation is in progress: {doing}", "progress": progress}, 202


def summary_of(row: Row) -> Summary:
    said = {name: row[name] for name in Summary.__dataclass_fields__}
    return Summary(**{**said, "options": json.loads(row["options"])})
