"""Where ledgers are kept: a SQLite file, or a PostgreSQL database. Every change is durable before the call returns.

Both take the same SQL: `?` stands for a value, rows are read by the names of their columns, `{counter}` in a table's
text is a primary key that counts by itself. A `%` or a `?` that is no value is in no query.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ullage.errors import DependencyDown
from ullage.settings.ledger_url import LedgerUrl


class Row(Protocol):
    def __getitem__(self, column: str, /) -> Any: ...


class Answer(Protocol):
    """`rowcount`: how many rows were changed."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Session(Protocol):
    """Inside a transaction."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Answer: ...

    def executemany(self, query: str, values: Iterable[Sequence[Any]], /) -> object: ...


class Database(Protocol):
    """Thread-safe. One process at a time may write.

    One that is reached over the network raises DependencyDown while it is away, and WriterChanged for good.
    """

    def close(self) -> None: ...

    def ping(self) -> None:
        """Nothing where it answers."""

    def rows(self, query: str, values: Sequence[Any] = ()) -> Sequence[Row]: ...

    def row(self, query: str, values: Sequence[Any] = ()) -> Row | None: ...

    def reading(self) -> AbstractContextManager[Session]:
        """Every query inside sees one and the same moment."""

    def changing(self) -> AbstractContextManager[Session]:
        """All of it or nothing."""

    def add_column(self, table: str, column: str, kind: str) -> None:
        """For tables that an earlier version made."""


class WriterChanged(DependencyDown):
    """Another process has written since this one lost the database: what this one remembers may not hold any more."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Tables of their own, `schema`, in a PostgreSQL database."""

    url: LedgerUrl
    schema: str

    def __str__(self) -> str:
        return f"{self.url} (schema {self.schema})"


Place = Path | Shared


def open_database(place: Place, tables: str) -> Database:
    """`tables` may be run where they are already. Raises DependencyDown for a server that is away, or that another
    process writes to."""
    if isinstance(place, Path):
        return SqliteDatabase(place, tables)
    from ullage.store.database_postgres import PostgresDatabase

    return PostgresDatabase(place, tables)


_UNUSABLE = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY))
"""What is no fault of the query, but of the disk: full, failing, or not ours to write."""


class SqliteDatabase:
    """A file. Who opens it sees to it that no other process writes (`ingest.alone`). Raises DependencyDown while its
    disk cannot be used; what was told as done before stays, and what is refused meanwhile has not begun."""

    def __init__(self, path: Path, tables: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(tables.replace("{counter}", "INTEGER PRIMARY KEY AUTOINCREMENT"))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def ping(self) -> None:
        self.rows("SELECT 1")

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock, self._disk():
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        found = self.rows(query, values)
        return found[0] if found else None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._disk():
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("COMMIT")

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._disk():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk may have ended it
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _UNUSABLE:
                raise
            raise DependencyDown(f"{self._path} cannot be used ({error}): free space on its disk, or see that this "
                                 "user may write there, then try again; nothing that was accepted is lost") from None

    def add_column(self, table: str, column: str, kind: str) -> None:
        known = {str(row["name"]) for row in self.rows(f"PRAGMA table_info({table})")}
        if column not in known:
            with self.changing() as database:
                database.execute(f'ALTER TABLE {table} ADD COLUMN "{column}" {kind}')
