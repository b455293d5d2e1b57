"""`ullage serve ingest` with its real neighbours: the embedder and a Milvus Lite server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from processes import Service, clean_environment, free_port, running, wait_ready
from ullage.store import VectorStore

HANDBOOK = Path(__file__).parents[2] / "samples" / "handbook"


@contextmanager
def vectors(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "ullage.stack.lite_server", "--data-dir", str(folder / "vectors"),
               "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(10)


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory: pytest.TempPathFactory, model_cache: Path) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("neighbours")
    with vectors(folder) as uri, running("embedding", folder) as embedding:
        yield {"ULLAGE_VECTORS_URI": uri, "ULLAGE_EMBEDDING_URL": embedding.url}


def begin(folder: Path, environment: dict[str, str]) -> Service:
    port = free_port()
    log = folder / f"ingest-{port}.log"
    command = [sys.executable, "-m", "ullage", "serve", "ingest", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT,
                                   env=clean_environment(ULLAGE_STATE_DIR=str(folder), **environment))
    service = Service(process, f"http://127.0.0.1:{port}", log)
    wait_ready(service)
    return service


def upload(url: str, collection: str, paths: list[Path], blocking: bool) -> dict:
    parts = [("documents", (path.name, path.read_bytes())) for path in paths]
    data = {"data": json.dumps({"collection_name": collection, "blocking": blocking})}
    answer = httpx.post(f"{url}/v1/documents", files=parts, data=data, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_handbook_goes_in_and_its_tables_are_found(neighbours: dict[str, str], tmp_path: Path) -> None:
    service = begin(tmp_path, neighbours)
    try:
        httpx.post(f"{service.url}/v1/collection", json={"collection_name": "handbook"}).raise_for_status()
        body = upload(service.url, "handbook", sorted(HANDBOOK.iterdir()), blocking=True)
    finally:
        assert service.stop() == 0
    assert [f["document_name"] for f in body["failed_documents"]] == ["winter-layup-circular-2023-scan.pdf"]
    assert "no text layer" in body["failed_documents"][0]["error_message"]
    assert body["documents_completed"] == 7
    store = VectorStore(neighbours["ULLAGE_VECTORS_URI"])
    best = store.search_lexical("handbook", "top-end overhaul interval Vessby 6L-410", 3)
    assert any("Vessby 6L-410: 9,000 h" in hit.chunk.text for hit in best)
    assert {hit.chunk.document for hit in best} >= {"fleet-maintenance-manual.pdf"}
    store.close()


def test_kill_9_while_ingesting_loses_and_doubles_nothing(neighbours: dict[str, str], tmp_path: Path) -> None:
    """Killed three times at different moments; each file ends exactly once in the collection or among the failed."""
    paths = [path for path in sorted(HANDBOOK.iterdir()) if path.suffix != ".pdf"]
    bad = tmp_path / "bad.pdf"
    bad.write_bytes(b"%PDF-1.7 broken")
    service = begin(tmp_path, neighbours)
    httpx.post(f"{service.url}/collection", json={"collection_name": "killed"}).raise_for_status()
    task = upload(service.url, "killed", [*paths, bad], blocking=False)["task_id"]
    for pause_s in (0.0, 0.4, 0.8):
        time.sleep(pause_s)
        service.process.send_signal(signal.SIGKILL)
        service.process.wait(10)
        service = begin(tmp_path, neighbours)
    try:
        deadline = time.monotonic() + 60
        status: dict = {"state": "PENDING"}
        while status["state"] == "PENDING" and time.monotonic() < deadline:
            status = httpx.get(f"{service.url}/status", params={"task_id": task}).json()
            time.sleep(0.1)
    finally:
        service.stop()
    assert status["state"] == "FINISHED"
    names = [path.name for path in paths]
    assert [d["document_name"] for d in status["result"]["documents"]] == names
    assert [d["document_name"] for d in status["result"]["failed_documents"]] == ["bad.pdf"]
    store = VectorStore(neighbours["ULLAGE_VECTORS_URI"])
    listed = {record.name: record.chunks for record in store.documents("killed")}
    assert sorted(listed) == names
    assert store.count("killed") == sum(listed.values())
    store.close()
