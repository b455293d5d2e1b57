"""The vector store on a Milvus Lite server process: what was acknowledged survives kill -9."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from processes import free_port
from ullage.errors import DependencyDown
from ullage.store import Chunk, VectorStore

DIMENSION = 16


class Server:
    """`python -m ullage.stack.lite_server` on one port and one folder, as `ullage up` starts it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "ullage.stack.lite_server", "--data-dir", str(self.folder),
                   "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "vectors")
    server.start()
    yield server
    server.kill()


def answering(store: VectorStore, seconds: float = 30) -> VectorStore:
    deadline = time.monotonic() + seconds
    while True:
        try:
            store.ping()
        except DependencyDown:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return store


def document(number: int, chunks: int = 40) -> tuple[list[Chunk], np.ndarray]:
    name = f"d{number}.md"
    pieces = [
        Chunk(name, f"{number:064x}", n, f"document{number} passage{n} about pumps",
              metadata={"document": {"chunks": chunks}} if n == 0 else {})
        for n in range(chunks)
    ]
    vectors = np.random.default_rng(number).standard_normal((chunks, DIMENSION)).astype(np.float32)
    return pieces, vectors


@pytest.mark.parametrize("confirmed", [False, True])
def test_an_acknowledged_write_survives_kill_9(server: Server, confirmed: bool) -> None:
    store = answering(VectorStore(server.uri))
    store.create_collection("c", embedder="m", dimension=DIMENSION)
    for number in range(3):
        pieces, vectors = document(number)
        store.upsert("c", pieces, vectors)
        if confirmed:
            store.confirm("c", pieces[0].document, pieces[0].content_hash, len(pieces))
    store.delete_document("c", "d0.md")
    pieces, vectors = document(9)
    store.upsert("c", pieces, vectors)
    server.kill()
    with pytest.raises(DependencyDown, match="does not answer"):
        store.ping()
    server.start()
    answering(store)
    assert {record.name: record.chunks for record in store.documents("c")} == {"d1.md": 40, "d2.md": 40, "d9.md": 40}
    assert store.count("c") == 120
    [hit, *_] = store.search_dense("c", vectors[7], 3)
    assert hit.chunk == pieces[7]
    [lexical] = store.search_lexical("c", "document9 passage7", 1)
    assert lexical.chunk == pieces[7]
    store.confirm("c", "d9.md", pieces[0].content_hash, 40)
    store.close()


def test_killed_again_and_again_while_writing(server: Server) -> None:
    """Whatever was acknowledged before each kill is there in the end, once."""
    store = answering(VectorStore(server.uri))
    store.create_collection("c", embedder="m", dimension=DIMENSION)
    acknowledged: dict[str, int] = {}
    for kill in range(3):
        for number in range(kill * 10, kill * 10 + 4):
            pieces, vectors = document(number, 20)
            store.upsert("c", pieces, vectors)
            if number % 2:
                store.confirm("c", pieces[0].document, pieces[0].content_hash, 20)
            acknowledged[pieces[0].document] = 20
        server.kill()
        server.start()
        answering(store)
    assert {record.name: record.chunks for record in store.documents("c")} == acknowledged
    assert store.count("c") == 20 * len(acknowledged)
    store.close()


def test_an_index_that_a_kill_cut_off_is_made_anew(server: Server) -> None:
    """As a kill leaves it that came while Milvus Lite wrote it."""
    store = answering(VectorStore(server.uri))
    store.create_collection("c", embedder="m", dimension=DIMENSION)
    pieces, vectors = document(1)
    store.upsert("c", pieces, vectors)
    store.confirm("c", pieces[0].document, pieces[0].content_hash, 40)
    server.kill()
    [index] = server.folder.rglob("*.flat.idx")
    whole = index.read_bytes()
    index.write_bytes(whole[:2048])
    server.start()
    answering(store)
    assert store.search_dense("c", vectors[3], 1)[0].chunk == pieces[3]
    assert index.read_bytes() == whole
    store.close()


def test_two_clients_see_each_others_writes(server: Server) -> None:
    """The ingestor writes and the RAG server reads, each by its own connection."""
    writer, reader = answering(VectorStore(server.uri)), VectorStore(server.uri)
    writer.create_collection("c", embedder="m", dimension=DIMENSION)
    for number in range(5):
        pieces, vectors = document(number)
        writer.upsert("c", pieces, vectors)
        writer.confirm("c", pieces[0].document, pieces[0].content_hash, len(pieces))
        assert reader.search_dense("c", vectors[0], 1)[0].chunk == pieces[0]
    assert reader.collection("c").chunks == 200
    writer.close()
    reader.close()
