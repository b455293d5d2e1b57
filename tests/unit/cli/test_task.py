"""`ullage task` and `ullage collection`, against a real ingestor and a real database."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import structlog
import uvicorn

from hashing import HashingEmbedder
from ingesting import embedder
from ullage.http.run import claim_port
from ullage.ingest.server import create_app
from ullage.settings import Settings
from ullage.store import Chunk, VectorStore

__all__ = ["embedder"]


@pytest.fixture
def port(embedder: HashingEmbedder, tmp_path: Path, model_cache: Path) -> Iterator[int]:
    """Where an ingestor listens. As it runs in this process, its log must not stand in what a command prints."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    settings = Settings(embedding_url=embedder.url, vectors_uri=str(tmp_path / "v.db"), state_dir=tmp_path / "own",
                        cache_dir=model_cache, request_timeout_s=0.6)
    listener = claim_port("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    number = listener.getsockname()[1]
    deadline = time.monotonic() + 30
    while httpx.get(f"http://127.0.0.1:{number}/v1/health/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield number
    server.should_exit = True
    thread.join()
    listener.close()


def test_a_task_is_shown_cancelled_and_tried_again(ullage, port, embedder, tmp_path):
    (tmp_path / "a.md").write_text("# Pumps\n\nServiced yearly.\n")
    (tmp_path / "b.md").write_text("# Valves\n\nRed.\n")
    to = ("--set", f"ingest_port={port}")
    embedder.down = True
    ran = ullage(*to, "ingest", tmp_path / "a.md", tmp_path / "b.md", "--collection", "c")
    assert ran.code == 5
    [task] = ullage(*to, "task", "list", "--json").json
    assert (task["state"], task["files"]) == ("FAILED", {"failed": 2})
    shown = ullage(*to, "task", "show", task["task_id"])
    assert "a.md: refused: embedding at" in shown.out
    embedder.down = False
    one = ullage(*to, "task", "retry", task["task_id"], "--document", "b.md", "--json").json
    assert one["retried"] == ["b.md"]
    while "b.md: 1 chunk" not in ullage(*to, "task", "show", task["task_id"]).out:
        time.sleep(0.05)
    embedder.gate.clear()
    assert "1 files are ingested again." in ullage(*to, "task", "retry", task["task_id"]).out
    assert "1 files cancelled." in ullage(*to, "task", "cancel", task["task_id"]).out
    embedder.gate.set()
    assert "a.md: refused: a.md was cancelled" in ullage(*to, "task", "show", task["task_id"]).out
    assert "FINISHED" in ullage(*to, "task", "list").out
    assert ullage(*to, "task", "show", "nope").code == 2
    assert "task 'nope' is not known" in ullage(*to, "task", "cancel", "nope").refusal
    assert ullage(*to, "collection", "delete", "c").code == 0
    assert "does not exist" in ullage(*to, "collection", "delete", "c").refusal


def test_collections_are_carried_by_file(ullage, tmp_path):
    database = str(tmp_path / "mine.db")
    store = VectorStore(database)
    store.create_collection("c", embedder="m", dimension=8)
    store.upsert("c", [Chunk("a.md", "a" * 64, 0, "text")], np.ones((1, 8), np.float32))
    store.close()
    to = ("--set", f"vectors_uri={database}")
    file = tmp_path / "c.ullage"
    assert "1 passages of c" in ullage(*to, "collection", "export", "c", file).out
    assert "is there already" in ullage(*to, "collection", "export", "c", file).refusal
    assert ullage(*to, "collection", "export", "c", file, "--replace", "--json").json["passages"] == 1
    assert "is no folder" in ullage(*to, "collection", "export", "c", tmp_path / "no" / "c").refusal
    assert "Collection c already exists" in ullage(*to, "collection", "import", file).refusal
    assert ullage(*to, "collection", "import", file, "--as", "copy").out == (
        "collection copy: 1 passages, embedded with m\n")
    listed = ullage(*to, "collection", "list", "--json").json
    assert [(c["name"], c["passages"], c["dimension"]) for c in listed] == [("c", 1, 8), ("copy", 1, 8)]
    assert "copy" in ullage(*to, "collection", "list").out
