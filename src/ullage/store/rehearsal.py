"""Writes and searches before anybody needs them, so that a database is ready when it says so."""

from __future__ import annotations

import uuid

import numpy as np

from ullage.store.passage import Chunk
from ullage.store.vectors import VectorStore

ROWS = 256
DIMENSION = 384
TERMS = 100


def rehearse(uri: str, *, timeout_s: float = 30.0) -> None:
    """Write, seal, search, read and drop a collection of its own; takes about half a second.

    Milvus Lite loads its index and file libraries at the first write and search (153 MiB before, 230 to 275 MiB
    after): from here on its memory moves only with what is stored. Raises DependencyDown or InvalidRequest when the
    database cannot do its work.
    """
    store = VectorStore(uri, timeout_s=timeout_s)
    name = f"ullage_rehearsal_{uuid.uuid4().hex}"
    random = np.random.default_rng(0)
    vectors = random.standard_normal((ROWS, DIMENSION), np.float32)
    texts = [" ".join(f"term{number}" for number in random.integers(0, 3000, TERMS)) for _ in range(ROWS)]
    chunks = [Chunk(document="rehearsal", content_hash="0", ordinal=i, text=text) for i, text in enumerate(texts)]
    try:
        store.create_collection(name, embedder="rehearsal", dimension=DIMENSION)
        try:
            store.upsert(name, chunks, vectors)
            store.seal(name)
            store.search_hybrid(name, texts[0], vectors[0], 40)
            store.documents(name)
        finally:
            store.drop(name)
    finally:
        store.close()
