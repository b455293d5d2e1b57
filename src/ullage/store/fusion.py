"""Two searches as one list."""

from __future__ import annotations

from collections.abc import Sequence

from ullage.store.passage import Chunk, Hit

RRF_K = 60


def fuse(hits: Sequence[Hit], k: int, rrf: int) -> list[Hit]:
    """Reciprocal rank fusion; ties go to the better best rank, then to the id."""
    ranks: dict[str, dict[str, int]] = {}
    chunks: dict[str, Chunk] = {}
    for hit in hits:
        chunks[hit.chunk.id] = hit.chunk
        ranks.setdefault(hit.chunk.id, {}).update(hit.ranks)
    fused = [Hit(chunks[i], sum(1 / (rrf + rank) for rank in by.values()), by) for i, by in ranks.items()]
    fused.sort(key=lambda hit: (-hit.score, min(hit.ranks.values()), hit.chunk.id))
    return fused[:k]
