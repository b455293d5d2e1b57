"""Ledgers in PostgreSQL, which several machines reach; one process at a time writes, by a lock of its session."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import dict_row

from ullage.errors import DependencyDown, SettingsError
from ullage.store.database import Shared, WriterChanged

CONNECT_S = 5
"""So long a server that does not answer is waited for."""

PATIENCE_S = 5.0
"""So long a server that has just gone away is waited for; while it stays away every call tries once."""

PAUSE_S = 0.1
REPLACEMENT = "\ufffd"
"""Instead of NUL, which PostgreSQL's texts cannot hold: in what is written and in what is looked for."""

_AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""What is not a fault of the query: no connection, a server that stops, a full disk, a standby that only reads."""

_WRITER = "CREATE TABLE IF NOT EXISTS writer (one BIGINT PRIMARY KEY, token TEXT NOT NULL)"

_HOLDER = """SELECT holder.pid, holder.backend_start::text AS since, host(holder.client_addr) AS address
    FROM pg_locks JOIN pg_stat_activity AS holder ON holder.pid = pg_locks.pid
    WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND holder.datname = current_database()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND classid::bigint = %s AND objid::bigint = %s"""

Connection = psycopg.Connection[dict[str, Any]]
T = TypeVar("T")


def connected(place: Shared) -> Connection:
    """A session in the schema. Raises DependencyDown for a server that is away or refuses, SettingsError for a database
    that does not keep every letter."""
    url = place.url
    own: dict[str, Any] = {"application_name": f"ullage {place.schema}", "connect_timeout": CONNECT_S,
                           "client_encoding": "utf-8", "keepalives_idle": 15, "keepalives_interval": 5,
                           "keepalives_count": 3, "tcp_user_timeout": 30_000, **dict(url.more)}
    try:
        connection = psycopg.connect(host=url.host, port=url.port, user=url.user, password=url.password or None,
                                     dbname=url.name, autocommit=True, row_factory=dict_row, **own)
    except psycopg.Error as error:
        raise away(place, error) from None
    try:
        if (encoding := connection.info.parameter_status("server_encoding")) != "UTF8":
            raise SettingsError(f"ingest_ledger_url: the database {url} is in {encoding}: make one in UTF8")
        connection.execute(f"SET search_path TO {place.schema}".encode())
    except BaseException as error:
        connection.close()
        if isinstance(error, psycopg.Error):
            raise away(place, error) from None
        raise
    return connection


def away(place: Shared, error: psycopg.Error) -> DependencyDown:
    """What the driver says of a server holds its address and the user's name, never the password."""
    said = " ".join(str(error).split())[:300] or type(error).__name__
    return DependencyDown(f"the ledger at {place} cannot be used ({said}): check ingest_ledger_url and its server")


def placed(query: str) -> bytes:
    """The query with the driver's own sign for a value."""
    return query.replace("?", "%s").encode()


def plain(values: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(value.replace("\0", REPLACEMENT) if isinstance(value, str) and "\0" in value else value
                 for value in values)


class PostgresDatabase:
    """Raises DependencyDown at once while another process holds the schema's lock.

    The lock is of the session, so that no statement is ever sent without it. A lost connection is made again, with the
    lock, before a transaction begins; one that is lost inside a transaction ends it with DependencyDown and nothing of
    it is there. Of one that is lost while it is committed the server is asked what became of it. Whoever takes the lock
    anew leaves a token: a process that comes back and finds another's has been replaced, and raises WriterChanged from
    then on.
    """

    def __init__(self, place: Shared, tables: str) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._token = uuid.uuid4().hex
        self._entered = False
        self._replaced = False
        self._closed = False
        self._away = True
        self._session = (0, "")
        self._connection = self._connect()
        try:
            self._enter(tables.replace("{counter}", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY"))
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """The lock goes with it, and nothing opens it again."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def ping(self) -> None:
        self.rows("SELECT 1 AS one")

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """A query that changes nothing: it is asked again where the connection was lost."""
        with self._lock:
            return self._first(lambda connection: connection.execute(placed(query), plain(values)).fetchall())

    def row(self, query: str, values: Sequence[Any] = ()) -> dict[str, Any] | None:
        found = self.rows(query, values)
        return found[0] if found else None

    @contextmanager
    def reading(self) -> Iterator[_Session]:
        with self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as session:
            yield session

    @contextmanager
    def changing(self) -> Iterator[_Session]:
        with self._transaction("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE") as session:
            yield session

    def add_column(self, table: str, column: str, kind: str) -> None:
        with self.changing() as session:
            session.execute(f'ALTER TABLE {table} ADD COLUMN IF NOT EXISTS "{column}" {kind}')

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[_Session]:
        with self._lock:
            self._first(lambda connection: connection.execute(begin.encode()))
            try:
                yield _Session(self._place, self._connection)
            except BaseException:
                try:
                    self._connection.execute("ROLLBACK")
                except psycopg.Error:
                    self._connection.close()  # then the server takes it back
                raise
            self._commit()

    def _commit(self) -> None:
        number: int | None = None
        try:
            row = self._connection.execute("SELECT txid_current_if_assigned() AS number").fetchone()
            number = row["number"] if row is not None else None
            self._connection.execute("COMMIT")
        except psycopg.Error as error:
            self._connection.close()
            if number is None or not self._committed(number):
                raise away(self._place, error) from None

    def _committed(self, number: int) -> bool:
        """What became of a transaction whose COMMIT was not answered. The lock is ours again only when it is over."""
        try:
            found = self._first(lambda connection: connection.execute(
                "SELECT txid_status(%s) AS status", (number,)).fetchone())
        except WriterChanged:
            raise
        except DependencyDown as error:
            raise DependencyDown(f"{error.message}; whether it has the last change is not known: look before it is "
                                 "asked for again") from None
        return found is not None and found["status"] == "committed"

    def _first(self, ask: Callable[[Connection], T]) -> T:
        """The first statement of a transaction: on a new connection where the old one is found to be lost."""
        try:
            return ask(self._live())
        except _AWAY as error:
            if not self._connection.closed:
                raise away(self._place, error) from None
        try:
            return ask(self._live())
        except _AWAY as error:
            raise away(self._place, error) from None

    def _live(self) -> Connection:
        if self._closed:
            raise DependencyDown(f"the ledger at {self._place} is closed: its process is stopping")
        if self._replaced:
            raise self._writer_changed()
        if self._connection.closed:
            self._connection = self._connected_again()
        return self._connection

    def _connected_again(self) -> Connection:
        deadline = time.monotonic() + (0.0 if self._away else PATIENCE_S)
        while True:
            try:
                return self._connect()
            except WriterChanged:
                raise
            except DependencyDown:
                if time.monotonic() >= deadline:
                    self._away = True
                    raise
            time.sleep(PAUSE_S)

    def _connect(self) -> Connection:
        """A session that holds the lock."""
        connection = connected(self._place)
        try:
            self._prepare(connection)
            self._take(connection)
            if self._entered:
                self._check_token(connection)
        except BaseException as error:
            connection.close()
            if isinstance(error, _AWAY):
                raise away(self._place, error) from None
            raise
        self._away = False
        return connection

    def _prepare(self, connection: Connection) -> None:
        """Durable whatever the server's default is; a client whose machine died loses the lock within a minute."""
        wanted = {"tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}
        if connection.info.server_version >= 14_00_00:
            wanted["idle_session_timeout"] = "0"
        if (row := connection.execute("SHOW synchronous_commit").fetchone()) and row["synchronous_commit"] == "off":
            wanted["synchronous_commit"] = "on"
        for name, value in wanted.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))

    def _take(self, connection: Connection) -> None:
        """The lock. One that a session of our own still holds, which we have lost, is taken from it."""
        key = lock_key(self._place.schema)
        holder: dict[str, Any] | None = None
        for _ in range(10):
            row = connection.execute("SELECT pg_try_advisory_lock(%s) AS taken", (key,)).fetchone()
            if row is not None and row["taken"]:
                own = connection.execute("SELECT backend_start::text AS since FROM pg_stat_activity WHERE pid = %s",
                                         (connection.info.backend_pid,)).fetchone()
                self._session = (connection.info.backend_pid, str(own["since"]) if own is not None else "")
                return
            holder = connection.execute(_HOLDER, (key >> 32 & 0xFFFFFFFF, key & 0xFFFFFFFF)).fetchone()
            if holder is not None and (holder["pid"], holder["since"]) != self._session:
                break
            if holder is not None:
                connection.execute("SELECT pg_terminate_backend(%s)", (holder["pid"],))
            time.sleep(PAUSE_S)
        where = f" from {holder['address']}" if holder is not None and holder["address"] else ""
        raise DependencyDown(f"another process{where} writes the ledger at {self._place}: stop it, or give this one a "
                             "database of its own")

    def _check_token(self, connection: Connection) -> None:
        row = connection.execute("SELECT token FROM writer WHERE one = 1").fetchone()
        if row is None or row["token"] != self._token:
            self._replaced = True
            raise self._writer_changed()

    def _writer_changed(self) -> WriterChanged:
        return WriterChanged(f"another process has written the ledger at {self._place} since this one lost it: start "
                             "this one again")

    def _enter(self, tables: str) -> None:
        """The schema and its tables, where they are not there, and our token."""
        schema, url = self._place.schema, self._place.url
        try:
            with self._transaction("BEGIN") as session:
                if session.execute("SELECT 1 AS one FROM pg_namespace WHERE nspname = ?", (schema,)).fetchone() is None:
                    session.execute(f"CREATE SCHEMA {schema}")
                session.execute(_WRITER)
                session.execute(tables)
                session.execute("DELETE FROM writer")
                session.execute("INSERT INTO writer VALUES (1, ?)", (self._token,))
        except InsufficientPrivilege as error:
            said = " ".join(str(error.diag.message_primary or error).split())
            raise SettingsError(f"ingest_ledger_url: the user may not make the schema {schema} and its tables at {url} "
                                f"({said}): GRANT CREATE ON DATABASE {url.name} TO it") from None
        self._entered = True


class _Session:
    def __init__(self, place: Shared, connection: Connection) -> None:
        self._place = place
        self._connection = connection

    def execute(self, query: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[dict[str, Any]]:
        try:
            return self._connection.execute(placed(query), plain(values) or None)
        except _AWAY as error:
            raise away(self._place, error) from None

    def executemany(self, query: str, values: Iterable[Sequence[Any]], /) -> None:
        try:
            with self._connection.cursor() as cursor:
                cursor.executemany(placed(query), map(plain, values))
        except _AWAY as error:
            raise away(self._place, error) from None


def lock_key(schema: str) -> int:
    """Of 64 bits with a sign, as PostgreSQL's advisory locks have it."""
    return int.from_bytes(hashlib.sha256(f"ullage {schema}".encode()).digest()[:8], signed=True)
