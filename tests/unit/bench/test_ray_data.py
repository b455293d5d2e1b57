"""Synthetic documents, and the proof that a collection holds each of them once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from ullage.bench.ray_data import Proof, killing, proportional_bytes, prove, workers, write_documents
from ullage.store import Chunk, VectorStore

WAITS = "import time; print(flush=True); time.sleep(60)"


def test_documents_are_the_same_for_a_seed_and_no_two_are_alike(tmp_path: Path) -> None:
    one, again, other = (write_documents(tmp_path / name, 300, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in again]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in (*one, *other)}) == 600
    assert len({path.name for path in (*one, *other)}) == 600


def chunks(name: str, *ordinals: int, of: int) -> list[Chunk]:
    return [Chunk(name, hashlib.sha256(name.encode()).hexdigest(), n, f"passage {n}",
                  metadata={"document": {"chunks": of}} if n == 0 else {}) for n in ordinals]


def test_what_is_missing_foreign_or_broken_is_told(tmp_path: Path) -> None:
    uri = str(tmp_path / "vectors.db")
    with closing(VectorStore(uri)) as store:
        store.create_collection("c", embedder="e", dimension=2)
        rows = [*chunks("whole.txt", 0, 1, of=2), *chunks("cut.txt", 0, 1, of=3), *chunks("more.txt", 0, 1, of=1),
                *chunks("headless.txt", 1, of=2), *chunks("foreign.txt", 0, of=1)]
        store.upsert("c", rows, np.ones((len(rows), 2), np.float32))
        store.seal("c")
    assert prove(uri, "c", ["whole.txt", "cut.txt", "more.txt", "headless.txt"]) == Proof(
        documents=4, passages=8, missing=1, foreign=1, broken=3, twice=0)
    with closing(VectorStore(uri)) as store:
        for name in ("cut.txt", "more.txt", "headless.txt", "foreign.txt"):
            store.delete_document("c", name)
    assert prove(uri, "c", ["whole.txt"]).exactly_once
    assert not prove(uri, "c", ["whole.txt", "gone.txt"]).exactly_once


def test_only_workers_are_killed() -> None:
    """Processes that call themselves what Ray's do: an agent and a plain process stay."""
    names = ("ray::MapWorker(Read)", "ray::DashboardAgent", "python")
    started = [subprocess.Popen(["bash", "-c", f"exec -a '{name}' {sys.executable} -c '{WAITS}'"],
                                stdout=subprocess.PIPE) for name in names]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        assert [(p.pid, what) for p, what in workers(os.getpid())] == [(started[0].pid, "MapWorker(Read)")]
        assert proportional_bytes(started[0].pid) > 1 << 20
        both = {process.pid for process in started[:2]}
        assert proportional_bytes(os.getpid(), both) < proportional_bytes(os.getpid()) - (1 << 20)
        with killing(0.05) as kills:
            assert started[0].wait(20) == -9
            time.sleep(0.3)
        assert dict(kills.by_name) == {"MapWorker(Read)": 1}
        assert [process.poll() for process in started[1:]] == [None, None]
    finally:
        for process in started:
            process.kill()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()
