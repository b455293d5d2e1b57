"""Ingestion over Ray Data: workers, the driver and a whole cluster are killed, and every document is there once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from clusters import Simulated

from ingestors import embedding, lite_server
from postgres_server import PASSWORD, running
from processes import clean_environment
from ullage.bench.ray_data import killing, prove, write_documents

Ask = Callable[[str], list[tuple[Any, ...]]]

DOCUMENTS = 1200
KILL_S = 6.0
"""On two cores a worker needs as long until it works again."""


class Command:
    """`ullage ingest --ray ADDRESS FOLDER` as a process, with services of its own. `ask` asks its ledger."""

    def __init__(self, folder: Path, embedding_url: str, vectors_uri: str, ask: Ask | None = None,
                 **environment: str) -> None:
        self.folder = folder
        self.uri = vectors_uri
        self._ask = ask or self._ask_file
        self.paths = write_documents(folder / "documents", DOCUMENTS)
        self._started: list[subprocess.Popen[bytes]] = []
        self._environment = clean_environment(ULLAGE_STATE_DIR=str(folder), ULLAGE_EMBEDDING_URL=embedding_url,
                                              ULLAGE_COLLECTION="c", **environment)

    def start(self, address: str, **environment: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ullage", "ingest", "--ray", address, "--json", str(self.folder / "documents")]
        with (self.folder / "said.json").open("wb") as said, (self.folder / "errors.log").open("ab") as errors:
            self._started.append(subprocess.Popen(command, stdout=said, stderr=errors,
                                                  env={**self._environment, "ULLAGE_VECTORS_URI": self.uri,
                                                       **environment}))
        return self._started[-1]

    def close(self) -> None:
        """Nothing of a test that failed runs beside the next."""
        for process in self._started:
            process.kill()
            process.wait(10)

    def said(self, process: subprocess.Popen[bytes], seconds: float = 200) -> dict[str, object]:
        code = process.wait(seconds)
        assert code == 0, (code, (self.folder / "errors.log").read_text()[-3000:])
        return dict(json.loads((self.folder / "said.json").read_text()))

    def counts(self) -> dict[str, int]:
        """Of the only task, by state; empty before it is accepted. The command alone may make and change the ledger."""
        tasks = self._ask("SELECT COUNT(*) FROM tasks")
        assert not tasks or tasks[0][0] < 2, "accepted twice"
        return dict(self._ask("SELECT state, COUNT(*) FROM files GROUP BY state"))

    def _ask_file(self, query: str) -> list[tuple[Any, ...]]:
        path = self.folder / "ingest-ray" / "ledger.db"
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
                return ledger.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []

    def until(self, finished: int, process: subprocess.Popen[bytes]) -> None:
        """Wait for so many documents that are told as done, and some that are not."""
        deadline = time.monotonic() + 120
        while self.counts().get("FINISHED", 0) < finished:
            assert process.poll() is None, (self.folder / "errors.log").read_text()[-3000:]
            assert time.monotonic() < deadline, self.counts()
            time.sleep(0.05)
        assert self.counts().get("RUNNING", 0) > 0, "it was over before it could be disturbed"

    def check(self) -> None:
        assert self.counts() == {"FINISHED": DOCUMENTS}
        proof = prove(self.uri, "c", [path.name for path in self.paths])
        assert proof.exactly_once, proof
        assert proof.documents == DOCUMENTS


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    with (embedding(pause_s=0.1) as url, lite_server(tmp_path) as (uri, _),
          closing(Command(tmp_path, url, uri)) as command):
        yield command


@contextmanager
def cluster(nodes: int) -> Iterator[tuple[str, list[object]]]:
    """Its address and its nodes; what is left of it afterwards is ended."""
    from ray.cluster_utils import Cluster

    own = Cluster(initialize_head=True, head_node_args={
        "num_cpus": 2, "memory": 2 << 30, "object_store_memory": 80 << 20, "include_dashboard": False})
    try:
        for _ in range(nodes - 1):
            own.add_node(num_cpus=2, memory=2 << 30, object_store_memory=80 << 20)
        yield own.address, own.list_all_nodes()
    finally:
        own.shutdown()


def test_workers_are_killed_and_every_document_is_there_once(simulated: Simulated, command: Command) -> None:
    with killing(KILL_S, seed=1) as kills:
        said = command.said(command.start(simulated.nodes.address), seconds=250)
    print(f"\n{said['finished']} documents in {said['seconds']} s, {kills.total} workers killed: {dict(kills.by_name)}")
    assert said["finished"] == DOCUMENTS
    assert any("Stage" in name for name in kills.by_name), kills
    command.check()
    again = command.said(command.start(simulated.nodes.address))
    assert (again["files"], again["there"], again["finished"]) == (0, DOCUMENTS, 0)


def test_a_killed_driver_goes_on_where_it_was(simulated: Simulated, command: Command) -> None:
    process = command.start(simulated.nodes.address)
    command.until(200, process)
    process.kill()
    process.wait(10)
    left = command.counts()["RUNNING"]
    said = command.said(command.start(simulated.nodes.address))
    assert (said["files"], said["resumed"], said["finished"]) == (0, left, DOCUMENTS)
    command.check()


def test_a_killed_driver_is_gone_on_with_from_another_state_folder(simulated: Simulated, tmp_path: Path) -> None:
    """The ledger is in PostgreSQL, whose server restarts too: another machine would have nothing but the two URLs and
    the documents under the same path."""
    with running() as server, ExitStack() as opened:
        ledger = server.database()

        def ask(query: str) -> list[tuple[Any, ...]]:
            if not server.do("SELECT 1 FROM pg_tables WHERE schemaname = 'ullage_ingest_ray' AND tablename = 'files'",
                             ledger):
                return []
            return server.do(query.replace(" FROM ", " FROM ullage_ingest_ray."), ledger)

        url = opened.enter_context(embedding(pause_s=0.1))
        uri, _ = opened.enter_context(lite_server(tmp_path))
        command = opened.enter_context(closing(Command(tmp_path, url, uri, ask, ULLAGE_INGEST_LEDGER_URL=ledger)))
        process = command.start(simulated.nodes.address)
        command.until(200, process)
        server.restart(signal.SIGQUIT)
        command.until(400, process)
        process.kill()
        process.wait(10)
        left = command.counts()["RUNNING"]
        said = command.said(command.start(simulated.nodes.address, ULLAGE_STATE_DIR=str(tmp_path / "elsewhere")))
        assert (said["files"], said["resumed"], said["finished"]) == (0, left, DOCUMENTS)
        command.check()
        assert not list(tmp_path.glob("*/ledger.db")) + list(tmp_path.glob("elsewhere/*/ledger.db"))
        assert PASSWORD not in (tmp_path / "errors.log").read_text()


def test_a_database_that_goes_away_ends_the_run_and_no_document(simulated: Simulated, tmp_path: Path) -> None:
    with embedding(pause_s=0.1) as url, ExitStack() as opened:
        with lite_server(tmp_path) as (uri, pid):
            command = opened.enter_context(closing(Command(tmp_path, url, uri, ULLAGE_REQUEST_TIMEOUT_S="5")))
            process = command.start(simulated.nodes.address)
            command.until(200, process)
            os.kill(pid, signal.SIGKILL)
            assert process.wait(120) == 6
        last = (tmp_path / "errors.log").read_text().strip().splitlines()[-1]
        assert "does not answer" in last
        assert last.endswith("run it again")
        with lite_server(tmp_path) as (command.uri, _):
            assert command.said(command.start(simulated.nodes.address))["finished"] == DOCUMENTS
            command.check()


def test_a_restart_of_the_whole_cluster_loses_nothing(command: Command) -> None:
    """Every process of it gets SIGKILL at once. The driver cannot go on without it, and says so by its exit code."""
    with cluster(2) as (address, nodes):
        process = command.start(address)
        command.until(200, process)
        for node in nodes:
            node.kill_all_processes(check_alive=False, allow_graceful=False)
        gone = time.monotonic()
        assert process.wait(150) != 0
        print(f"\nthe driver ended {time.monotonic() - gone:.1f} s after its cluster, with {process.returncode}")
    left = command.counts()["RUNNING"]
    with cluster(2) as (address, _):
        said = command.said(command.start(address))
    print(f"{left} of {DOCUMENTS} documents were open when the cluster went; it took {said['seconds']} s after that")
    assert (said["resumed"], said["finished"]) == (left, DOCUMENTS)
    command.check()
