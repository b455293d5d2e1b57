"""A shared ledger: servers that restart, writers that are killed, doubled or replaced, answers that do not come."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from postgres_server import PASSWORD, Postgres, running, shared, written
from processes import free_port
from ullage.errors import DependencyDown, SettingsError
from ullage.store import FileRecord, Ledger
from ullage.store.database import Shared, WriterChanged
from ullage.store.ledger_bulk import BulkLedger
from ullage.store.summary_reader import read_summary

TESTS = str(Path(__file__).parents[2])
IMPORTS = (f"import os, sys, time; sys.path.insert(0, {TESTS!r}); from postgres_server import place_of;"
           "from ullage.store import FileRecord, Ledger; ledger = Ledger(place_of(sys.argv[1]));")


@pytest.fixture
def place(postgres_url: str) -> Shared:
    return shared(postgres_url)


@pytest.fixture
def ledger(place: Shared) -> Iterator[Ledger]:
    ledger = Ledger(place)
    yield ledger
    ledger.close()


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    """For tests that stop it: others run beside on the shared one."""
    with running() as server:
        yield server


def end_sessions(server: Postgres, place: Shared) -> None:
    """As a network that fails, or an operator, does."""
    server.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
              f" WHERE application_name LIKE 'ullage %' AND datname = '{place.url.name}'")


def names(ledger: Ledger) -> list[list[str]]:
    return sorted([file.name for file in ledger.task(task.id).files] for task, _ in ledger.tasks(1000))


def test_a_server_that_restarts_is_found_again(postgres_server: Postgres, own_server: Postgres) -> None:
    ledger = Ledger(shared(own_server.database()))
    try:
        ledger.add("c", [FileRecord("a.md")], {})
        for how in (signal.SIGINT, signal.SIGQUIT):
            own_server.restart(how)
            ledger.begin(1)
        assert (ledger.file(1).attempts, ledger.next_open().name) == (2, "a.md")
        own_server.stop(signal.SIGQUIT)
        starting = threading.Timer(0.5, own_server.start)
        starting.start()
        ledger.put_back(1)  # waits until it is there
        starting.join()
        assert ledger.file(1).attempts == 1
        with pytest.raises(DependencyDown, match="cannot be used"):
            change_around(ledger, own_server.restart)
        assert ledger.file(1).attempts == 1, "nothing of it is there"
    finally:
        ledger.close()


def change_around(ledger: Ledger, happens: Callable[[], None]) -> None:
    with ledger._database.changing() as session:
        session.execute("UPDATE files SET attempts = 40")
        happens()
        session.execute("UPDATE files SET attempts = 50")


def test_while_a_server_is_away_one_line_says_so_and_no_password(
    own_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ullage.store.database_postgres.PATIENCE_S", 0.3)
    place = shared(own_server.database())
    ledger = Ledger(place)
    try:
        own_server.stop()
        for ask in (ledger.ping, lambda: ledger.begin(1), lambda: ledger.add("c", [], {}), lambda: ledger.task("x"),
                    lambda: Ledger(place), lambda: read_summary(place, "c", "a.md")):
            with pytest.raises(DependencyDown) as refused:
                ask()
            assert f"{place.url.host}:{own_server.port}/{place.url.name}" in refused.value.message
            assert PASSWORD not in refused.value.message
        own_server.start()
        ledger.ping()
        ledger.add("c", [], {})
    finally:
        ledger.close()


def test_of_two_writers_the_second_is_refused_until_the_first_has_ended(ledger: Ledger, place: Shared) -> None:
    with pytest.raises(DependencyDown, match=r"another process from 127\.0\.0\.1 writes the ledger at postgresql://127"):
        Ledger(place)
    other = BulkLedger(Shared(place.url, "ullage_ingest_ray"))
    other.accept("c", [FileRecord("b.md")], {})
    other.close()
    assert ledger.tasks(5) == [], "the bulk ledger has tables of its own"
    ledger.close()
    Ledger(place).close()
    with pytest.raises(DependencyDown, match="is closed"):
        ledger.add("c", [], {})
    Ledger(place).close()


def test_a_killed_writer_gives_the_ledger_back(place: Shared) -> None:
    process = subprocess.Popen([sys.executable, "-c", IMPORTS + "print('in', flush=True); time.sleep(60)",
                                written(place)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    with pytest.raises(DependencyDown, match="another process"):
        Ledger(place)
    process.kill()
    process.communicate()
    opened_within(place, 10).close()


def opened_within(place: Shared, seconds: float) -> Ledger:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return Ledger(place)
        except DependencyDown:
            assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_client_that_is_killed_inside_a_transaction_leaves_nothing_of_it(place: Shared) -> None:
    script = IMPORTS + """
with ledger._database.changing() as session:
    session.execute("INSERT INTO tasks VALUES ('half', 'c', 'PENDING', '{}', 1, 1)")
    print('in', flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", script, written(place)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"in\n"
    process.kill()
    process.communicate()
    ledger = opened_within(place, 10)
    assert ledger.tasks(5) == []
    ledger.close()


def test_a_client_that_is_killed_at_any_moment_leaves_all_of_a_task_or_nothing(place: Shared) -> None:
    """What it had said was accepted is there; at most one more task is, and each has all its files."""
    script = IMPORTS + """
for n in range(10_000):
    ledger.add('c', [FileRecord(f'{n}-{k}.md') for k in range(50)], {})
    print(n, flush=True)
"""
    told: list[int] = []
    for seed in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, written(place)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(2)]
        time.sleep(random.Random(seed).uniform(0, 0.2))
        process.kill()
        said += map(int, process.communicate()[0].decode().splitlines())
        told.append(len(said))
        ledger = opened_within(place, 10)
        found = names(ledger)
        ledger.close()
        assert all(len(files) == 50 for files in found)
        assert sum(told) <= len(found) <= sum(told) + len(told)


def test_a_lock_that_was_lost_is_taken_again_unless_another_writer_was_there(
    ledger: Ledger, place: Shared, postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ullage.store.database_postgres.PATIENCE_S", 0.3)
    ledger.add("c", [FileRecord("a.md")], {})
    end_sessions(postgres_server, place)
    ledger.begin(1)
    with pytest.raises(DependencyDown, match="another process"):
        Ledger(place)
    end_sessions(postgres_server, place)
    other = opened_within(place, 10)
    with pytest.raises(DependencyDown, match="another process"):
        ledger.finish(1)
    other.finish(1)
    other.close()
    for _ in range(2):
        with pytest.raises(WriterChanged, match="start this one again"):
            ledger.finish(1, error="what it did not see")
    again = Ledger(place)
    assert (again.file(1).state, again.file(1).error) == ("FINISHED", "")
    again.close()


def test_a_session_that_we_lost_and_the_server_did_not_is_taken_the_lock_from(ledger: Ledger) -> None:
    database = ledger._database
    lost = database._connection
    database._connection = type("Gone", (), {"closed": True})()
    ledger.add("c", [FileRecord("a.md")], {})
    assert database._connection.info.backend_pid != lost.info.backend_pid
    lost.close()


class Torn:
    """A connection that is lost around COMMIT, so that its answer does not come."""

    def __init__(self, connection, *, committed: bool) -> None:
        self._connection, self._committed = connection, committed

    def __getattr__(self, name: str):
        return getattr(self._connection, name)

    def execute(self, query, *values):
        from psycopg import OperationalError

        if query != "COMMIT":
            return self._connection.execute(query, *values)
        if self._committed:
            self._connection.execute(query)
        self._connection.close()
        raise OperationalError("server closed the connection unexpectedly")


def test_of_a_commit_whose_answer_was_lost_the_server_is_asked(ledger: Ledger) -> None:
    database = ledger._database
    database._connection = Torn(database._connection, committed=True)
    task = ledger.add("c", [FileRecord("a.md")], {})
    assert [file.name for file in task.files] == ["a.md"]
    database._connection = Torn(database._connection, committed=False)
    with pytest.raises(DependencyDown, match="closed the connection"):
        ledger.add("c", [FileRecord("b.md")], {})
    assert names(ledger) == [["a.md"]]
    ledger.add("c", [FileRecord("b.md")], {})
    assert names(ledger) == [["a.md"], ["b.md"]]


def test_what_the_server_was_set_to_does_not_make_a_commit_less_durable(
    place: Shared, postgres_server: Postgres
) -> None:
    postgres_server.do(f"ALTER DATABASE {place.url.name} SET synchronous_commit = off")
    ledger = Ledger(place)
    assert ledger._database.row("SHOW synchronous_commit")["synchronous_commit"] == "on"
    ledger.close()


def test_what_can_never_work_is_refused_by_name(postgres_server: Postgres) -> None:
    postgres_server.do("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    with pytest.raises(SettingsError, match=r"ascii is in SQL_ASCII: make one in UTF8"):
        Ledger(shared(postgres_server.url("ascii")))
    postgres_server.do("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    own = shared(postgres_server.database()).url.name
    with pytest.raises(SettingsError, match=rf"GRANT CREATE ON DATABASE {own} TO"):
        Ledger(shared(postgres_server.url(own, user="guest", password="guest")))
    postgres_server.do(f"GRANT CREATE ON DATABASE {own} TO guest")
    Ledger(shared(postgres_server.url(own, user="guest", password="guest"))).close()


@pytest.mark.parametrize("change", [{"password": "wrong-wrong"}, {"database": "nosuch"}])
def test_who_is_not_let_in_reads_the_servers_own_words_and_no_password(
    change: dict[str, str], postgres_server: Postgres
) -> None:
    url = postgres_server.url(**{"database": "postgres", **change})
    with pytest.raises(DependencyDown, match=r"(password authentication failed|\"nosuch\" does not exist)") as refused:
        Ledger(shared(url))
    assert not any(word in refused.value.message for word in (PASSWORD, "wrong-wrong"))


def test_a_port_where_nobody_listens_is_a_server_that_is_away() -> None:
    with pytest.raises(DependencyDown, match="refused"):
        Ledger(shared(f"postgresql://u:secret@127.0.0.1:{free_port()}/ledger"))
