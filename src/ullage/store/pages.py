"""Stretches of a stored document."""

from __future__ import annotations

from typing import Literal

from ullage.store.passage import Chunk
from ullage.store.schema import CHUNK_FIELDS, chunk_of, literal
from ullage.store.vectors import VectorStore


def chunks_between(
    store: VectorStore, collection: str, document: str, by: Literal["page", "ordinal"], first: int, last: int
) -> list[Chunk]:
    """Chunks in order whose page (or ordinal) is `first` to `last`, ends included; at most a read's worth."""
    wanted = f"document == {literal(document)} and {by} >= {int(first)} and {by} <= {int(last)}"
    rows = store.few(collection, wanted, CHUNK_FIELDS)
    return sorted((chunk_of(row) for row in rows), key=lambda chunk: chunk.ordinal)
