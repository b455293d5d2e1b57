"""Collections copied from one database to another: whole, in any number of attempts, and checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ullage.errors import DependencyDown, InvalidRequest, NotFound
from ullage.store import Chunk, VectorStore
from ullage.store.copy import COPYING, CopyDiffers, copy_collection

DOCUMENTS, CHUNKS = 6, 5
TOTAL = DOCUMENTS * CHUNKS


def chunks_of(name: str) -> list[Chunk]:
    return [Chunk(name, name[-1] * 64, n, f"pump {n} of {name} ü", page=n + 1, path=("Top",), created_s=7.5,
                  metadata={"site": "yard", **({"document": {"chunks": CHUNKS}} if n == 0 else {})})
            for n in range(CHUNKS)]


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[VectorStore, VectorStore]]:
    with ExitStack() as opened:
        old, new = (opened.enter_context(closing(VectorStore(str(tmp_path / f"{name}.db")))) for name in ("old", "new"))
        old.create_collection("c", embedder="m", dimension=8, info={"owner": "me"})
        for number in range(DOCUMENTS):
            chunks = chunks_of(f"d{number}")
            old.upsert("c", chunks, np.random.default_rng(number).standard_normal((CHUNKS, 8)).astype(np.float32))
        yield old, new


def test_what_is_copied_is_equal_and_heard_of(stores):
    old, new = stores
    heard: list[tuple[int, int]] = []
    copied = copy_collection(old, new, "c", lambda *told: heard.append(told))
    assert (copied.documents, copied.passages, copied.skipped) == (DOCUMENTS, TOTAL, 0)
    assert heard[-1] == (TOTAL, TOTAL)
    record = new.collection("c")
    assert (record.embedder, record.dimension, record.chunks, record.info) == ("m", 8, TOTAL, {"owner": "me"})
    mine, theirs = old.chunks("c", "d3"), new.chunks("c", "d3")
    assert mine[0] == theirs[0]
    assert np.array_equal(mine[1], theirs[1])


def test_a_copy_that_was_broken_off_goes_on(stores, monkeypatch):
    old, new = stores
    write, calls = new.upsert, []

    def dies(collection, chunks, vectors):
        calls.append(chunks)
        if len(calls) == 6:  # the first chunk of the third document, after its others
            raise DependencyDown("the target went away")
        write(collection, chunks, vectors)

    monkeypatch.setattr(new, "upsert", dies)
    with pytest.raises(DependencyDown):
        copy_collection(old, new, "c")
    assert new.collection("c").info["status"] == COPYING
    assert len(new.documents("c")) == 2
    monkeypatch.setattr(new, "upsert", write)
    copied = copy_collection(old, new, "c")
    assert (copied.passages, copied.skipped) == (TOTAL, 2 * CHUNKS)
    assert new.collection("c").info == {"owner": "me"}


def test_a_collection_that_is_no_copy_is_left_alone(stores):
    old, new = stores
    copy_collection(old, new, "c")
    with pytest.raises(InvalidRequest, match="has a collection c already"):
        copy_collection(old, new, "c")
    with pytest.raises(NotFound):
        copy_collection(old, new, "nothing")


@pytest.mark.parametrize("fault", ["a vector", "a text", "one more"])
def test_a_copy_that_differs_is_said_to(stores, monkeypatch, fault):
    old, new = stores
    write = new.upsert

    def wrong(collection, chunks, vectors):
        if chunks[0].document == "d1" and len(chunks) > 1:
            if fault == "a vector":
                vectors = vectors + np.float32(1e-6)
            elif fault == "a text":
                chunks = [replace(chunk, text=chunk.text + ".") for chunk in chunks]
            else:
                write(collection, [replace(chunks[0], ordinal=CHUNKS + 1)], vectors[:1])
        write(collection, chunks, vectors)

    monkeypatch.setattr(new, "upsert", wrong)
    with pytest.raises(CopyDiffers, match=f"holds {TOTAL} passages"):
        copy_collection(old, new, "c")
    assert new.collection("c").info["status"] == COPYING
