"""A vector store with four chunks: on a real Milvus Lite in this process; on the Milvus server that ULLAGE_TEST_MILVUS
names, if it does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ullage.store import Chunk, VectorStore

HASH = "a" * 64
TEXTS = [
    "The bilge pump P-101 is serviced every six months.",
    "Ticket readers are bought from Tidemark Software.",
    "Passengers may carry bicycles on the catamaran.",
    "The emergency fire pump is tested weekly.",
]


def chunks(document: str = "manual.md", content_hash: str = HASH, texts: list[str] = TEXTS) -> list[Chunk]:
    return [
        Chunk(document, content_hash, n, text, page=n + 1, path=("Top", "Sub"), created_s=7.5,
              metadata={"document": {"chunks": len(texts)}, "nested": {"x": [1, "ü"]}})
        for n, text in enumerate(texts)
    ]


def axes(count: int = 4, dimension: int = 8) -> np.ndarray:
    return np.eye(dimension, dtype=np.float32)[:count]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VectorStore]:
    store = VectorStore(os.environ.get("ULLAGE_TEST_MILVUS") or str(tmp_path / "vectors.db"))
    for record in store.collections():
        store.drop(record.name)
    yield store
    store.close()


@pytest.fixture
def filled(store: VectorStore) -> VectorStore:
    store.create_collection("c", embedder="m", dimension=8, info={"owner": "me"})
    store.upsert("c", chunks(), axes())
    return store
