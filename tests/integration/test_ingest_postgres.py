"""Ingestors with their ledger in a real PostgreSQL server: killed, doubled, replaced, and with the server away."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from ingestors import Ingestor, embedding, lite_server
from postgres_server import PASSWORD, Postgres, running
from ullage.store import VectorStore

FILES = 12
WAIT_S = 90.0


@dataclass
class Machines:
    """Ingestors with state folders of their own; the objects, the vectors and the ledger are theirs together."""

    folder: Path
    server: Postgres
    ledger: str
    vectors: str
    environment: dict[str, str]
    opened: ExitStack

    def start(self, name: str, *, wait: bool = True) -> Ingestor:
        (self.folder / name).mkdir()
        ingestor = Ingestor(self.folder / name, **self.environment)
        self.opened.callback(ingestor.stop)
        ingestor.start(wait=wait)
        return ingestor

    def rows(self, query: str) -> list[tuple]:
        return self.server.do(query, self.ledger)

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*/ingest.log"))


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with running() as server, ExitStack() as opened:
        ledger = server.database()
        embedder = opened.enter_context(embedding(pause_s=0.3))
        vectors, _ = opened.enter_context(lite_server(tmp_path))
        yield Machines(tmp_path, server, ledger, vectors, {
            "ULLAGE_VECTORS_URI": vectors, "ULLAGE_EMBEDDING_URL": embedder, "ULLAGE_INGEST_LEDGER_URL": ledger,
            "ULLAGE_OBJECTS_URI": str(tmp_path / "objects")}, opened)


def upload(url: str, names: list[str]) -> httpx.Response:
    httpx.post(f"{url}/v1/collection", json={"collection_name": "c"}).raise_for_status()
    text = "# {name}\n\nThe pump of {name} is serviced every May.\n"
    parts = [("documents", (name, text.format(name=name).encode())) for name in names]
    return httpx.post(f"{url}/v1/documents", files=parts, timeout=60,
                      data={"data": json.dumps({"collection_name": "c", "blocking": False})})


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def state(url: str, task: str) -> dict:
    return httpx.get(f"{url}/v1/status", params={"task_id": task}, timeout=30).json()


def readiness(url: str) -> tuple[int, str]:
    try:
        answer = httpx.get(f"{url}/v1/health/ready", timeout=30)
    except httpx.TransportError:
        return 0, ""
    return answer.status_code, answer.json()["message"]


def each_once(machines: Machines, names: list[str]) -> None:
    store = VectorStore(machines.vectors)
    listed = {record.name: record.chunks for record in store.documents("c")}
    assert sorted(listed) == sorted(names)
    assert store.count("c") == sum(listed.values())
    store.close()


def test_another_machine_goes_on_with_what_a_killed_one_had_accepted(machines: Machines) -> None:
    names = [f"{n:02}.md" for n in range(FILES)]
    first = machines.start("first")
    task = upload(first.url, names).raise_for_status().json()["task_id"]
    until(lambda: machines.rows("SELECT 1 FROM ullage_ingest.files WHERE state = 'RUNNING'") != [], "begun")
    first.kill()
    left = machines.rows("SELECT name FROM ullage_ingest.files WHERE state <> 'FINISHED'")
    assert left, "it was over before it could be killed"
    second = machines.start("second")
    until(lambda: state(second.url, task)["state"] not in ("PENDING", "RUNNING"), "ended")
    done = state(second.url, task)
    assert (done["state"], len(done["result"]["documents"]), done["result"]["failed_documents"]) == (
        "FINISHED", FILES, [])
    each_once(machines, names)
    health = httpx.get(f"{second.url}/v1/health", params={"check_dependencies": True}, timeout=60).json()
    [ledger] = health["task_management"]
    assert (ledger["service"], ledger["url"], ledger["status"]) == (
        "PostgreSQL ledger", f"postgresql://127.0.0.1:{machines.server.port}/ledger0", "healthy")
    assert not list(machines.folder.glob("*/ingest/*.db"))
    assert machines.ledger not in machines.logs()
    assert PASSWORD not in machines.logs()


def test_a_second_machine_waits_and_one_that_was_replaced_ends(machines: Machines) -> None:
    first = machines.start("first")
    second = machines.start("second", wait=False)
    until(lambda: "another process" in readiness(second.url)[1], "refused")
    assert readiness(second.url)[0] == 503
    first.service.process.send_signal(signal.SIGSTOP)  # as if cut off: it does not see that its session ends
    machines.server.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'ullage %'")
    until(lambda: readiness(second.url)[0] == 200, "took over")
    task = upload(second.url, ["a.md"]).raise_for_status().json()["task_id"]
    first.service.process.send_signal(signal.SIGCONT)
    until(lambda: "another process" in readiness(first.url)[1], "sees the other")
    assert upload_refused(first.url)
    until(lambda: state(second.url, task)["state"] == "FINISHED", "ended")
    second.stop()
    assert first.service.process.wait(WAIT_S) == 6, "what it remembers may not hold: it is to be started again"
    assert "start this one again" in (machines.folder / "first" / "ingest.log").read_text()
    each_once(machines, ["a.md"])


def upload_refused(url: str) -> bool:
    parts = [("documents", ("b.md", b"text"))]
    answer = httpx.post(f"{url}/v1/documents", files=parts, timeout=60,
                        data={"data": json.dumps({"collection_name": "c", "blocking": False})})
    return answer.status_code == 503 and "Retry-After" in answer.headers


def test_a_server_that_is_away_for_a_while_costs_no_file_an_attempt(machines: Machines) -> None:
    names = [f"{n:02}.md" for n in range(FILES)]
    only = machines.start("only")
    task = upload(only.url, names).raise_for_status().json()["task_id"]
    until(lambda: machines.rows("SELECT 1 FROM ullage_ingest.files WHERE state = 'RUNNING'") != [], "begun")
    machines.server.stop(signal.SIGQUIT)
    until(lambda: readiness(only.url)[0] == 503, "not ready")
    assert "waiting: the ledger at postgresql://127.0.0.1" in readiness(only.url)[1]
    assert upload_refused(only.url)
    machines.server.start()
    until(lambda: readiness(only.url)[0] == 200, "ready again")
    until(lambda: state(only.url, task)["state"] not in ("PENDING", "RUNNING"), "ended")
    assert machines.rows("SELECT state, max(attempts), count(*) FROM ullage_ingest.files GROUP BY state") == [
        ("FINISHED", 1, FILES)]
    each_once(machines, names)
    assert "Traceback" not in machines.logs()
