"""A real PostgreSQL server of a test's own, from Debian's package, with a password full of odd letters."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from processes import free_port
from ullage.settings.ledger_url import LedgerUrl
from ullage.store.database import Place, Shared

USER, PASSWORD = "ullage", "p/a@s:s?w%r#d"
TRIES = 5
READY_S = 60.0


def why_not() -> str:
    """Why there is none here; empty where there can be."""
    if programs() is None:
        return "needs Debian's postgresql: apt-get install postgresql"
    return "" if find_spec("psycopg") else "needs psycopg: pip install 'ullage[postgres]'"


def programs() -> Path | None:
    """The folder of the newest `initdb` and `postgres`."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    if found:
        return found[-1].parent
    return Path(where).resolve().parent if (where := shutil.which("initdb")) else None


class Postgres:
    """PostgreSQL refuses root: then it runs as the package's own user, or as nobody, in a folder of that user."""

    def __init__(self) -> None:
        self._bin = programs()
        self._as: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="ullage-postgres-", dir="/tmp"))  # pytest's own is closed to others
        if os.geteuid() == 0:
            user = next(user for name in ("postgres", "nobody") for user in pwd.getpwall() if user.pw_name == name)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = count()
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        subprocess.run([f"{self._bin}/initdb", "-D", str(self.folder / "data"), "-U", USER, "-E", "UTF8", "--locale=C",
                        "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"],
                       check=True, capture_output=True, cwd=self.folder, **self._as)

    def start(self) -> None:
        """On the port of before, or a free one that nobody took meanwhile."""
        for _ in range(TRIES):
            port = self.port or free_port()
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [f"{self._bin}/postgres", "-D", str(self.folder / "data"), "-c", "listen_addresses=127.0.0.1",
                     "-c", f"port={port}", "-c", "unix_socket_directories=", "-c", "shared_buffers=16MB"],
                    stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, **self._as)
            if self._ready(port):
                self.port = port
                return
        raise AssertionError((self.folder / "log").read_text()[-3000:])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: transactions are broken off. SIGQUIT: as if the machine had lost its power."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def url(self, database: str = "postgres", *, user: str = USER, password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The URL of a new one."""
        name = f"ledger{next(self._databases)}"
        self.do(f"CREATE DATABASE {name}")
        return self.url(name)

    def do(self, query: str, url: str = "") -> list[tuple[Any, ...]]:
        """As a session of its own, which is closed again."""
        import psycopg

        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def _ready(self, port: int) -> bool:
        import psycopg

        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                return False
            try:
                psycopg.connect(host="127.0.0.1", port=port, user=USER, password=PASSWORD, dbname="postgres").close()
            except psycopg.OperationalError:
                time.sleep(0.05)
                continue
            return True
        raise AssertionError((self.folder / "log").read_text()[-3000:])


def shared(url: str, schema: str = "ullage_ingest") -> Shared:
    return Shared(LedgerUrl.of(url), schema)


def written(place: Place) -> str:
    """A place as an argument of another process."""
    if isinstance(place, Path):
        return str(place)
    url = place.url
    return f"postgresql://{url.user}:{quote(url.password, safe='')}@{url.host}:{url.port}/{url.name}"


def place_of(text: str) -> Place:
    return shared(text) if text.startswith("postgresql://") else Path(text)


@contextmanager
def running() -> Iterator[Postgres]:
    """A server that is gone afterwards. Skips the test where there can be none."""
    if reason := why_not():
        pytest.skip(reason)
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """One for all tests of a process."""
    with running() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: Postgres) -> str:
    """Of a database of the test's own."""
    return postgres_server.database()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a ledger may be kept: every test that asks for it runs at both."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    return shared(request.getfixturevalue("postgres_url"))
