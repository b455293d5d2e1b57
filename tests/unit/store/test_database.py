"""The file that ledgers are kept in, on a disk that is full."""

import sqlite3
from contextlib import closing

import pytest

from ullage.errors import DependencyDown
from ullage.store.database import SqliteDatabase

TABLES = """
CREATE TABLE IF NOT EXISTS files (name TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS tasks (file TEXT REFERENCES files (name) DEFERRABLE INITIALLY DEFERRED);
"""
LARGE = "x" * 100_000


@pytest.fixture
def database(tmp_path):
    with closing(SqliteDatabase(tmp_path / "ledger.sqlite", TABLES)) as opened:
        yield opened


def names(database):
    return [len(row["name"]) for row in database.rows("SELECT name FROM files")]


def add(database, name):
    with database.changing() as session:
        session.execute("INSERT INTO files VALUES ('before')")
        session.execute("INSERT INTO files VALUES (?)", (name,))


def test_a_full_disk_is_said_in_one_line_and_changes_nothing(database):
    pages = database.row("PRAGMA page_count")[0]
    database.rows(f"PRAGMA max_page_count={pages}")
    for _ in range(2):
        with pytest.raises(DependencyDown, match=r"ledger\.sqlite cannot be used .*disk is full.*: free space") as full:
            add(database, LARGE)
        assert "\n" not in full.value.message
        assert names(database) == []
    database.rows(f"PRAGMA max_page_count={pages + 1000}")
    add(database, LARGE)
    assert names(database) == [6, len(LARGE)]


def test_what_cannot_be_ended_is_undone_and_the_next_change_holds(database):
    """A COMMIT that fails leaves its transaction open."""
    for _ in range(2):
        with pytest.raises(sqlite3.IntegrityError), database.changing() as session:
            session.execute("INSERT INTO tasks VALUES ('nowhere')")
    add(database, "a")
    assert names(database) == [6, 1]
    assert database.rows("SELECT * FROM tasks") == []


def test_a_fault_of_the_query_is_none_of_the_disk(database):
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        database.rows("SELECT missing FROM files")
    with pytest.raises(sqlite3.OperationalError, match="no such table"), database.changing() as session:
        session.execute("INSERT INTO nowhere VALUES (1)")
    add(database, "a")
