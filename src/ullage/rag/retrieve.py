"""Passages for a question from several collections: by meaning and by words at once, fused into one order."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ullage.errors import DeadlineExceeded, RequestError, Unavailable
from ullage.rag.asked import Asked
from ullage.rag.connections import Clients
from ullage.rag.passage import Candidate
from ullage.rag.rests import Rests, unavailable
from ullage.rag.stopwatch import Stopwatch
from ullage.settings import Settings
from ullage.store import fields_of
from ullage.store.fusion import RRF_K, FoundRow, fuse

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """`candidates` best first; `degraded` names the embedder when only words were searched. `asking` are the vectors of
    the first text and of those beside it, where there were any."""

    candidates: tuple[Candidate, ...]
    degraded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    asking: Float32 | None = None


class Retriever:
    """Raises NotFound for a missing collection, InvalidRequest for a filter at fault, DependencyDown or
    DeadlineExceeded when the vector database is away, or the embedder where nothing can stand in for it."""

    def __init__(self, settings: Settings, rests: Rests) -> None:
        self._settings = settings
        self._rests = rests

    async def find(
        self, clients: Clients, asked: Asked, texts: Sequence[str], watch: Stopwatch, filter: str = "",
        beside: Sequence[str] | None = None,
    ) -> Found:
        """The searches for all texts run beside each other; those by words do not wait for the embedder. `beside` are
        texts that are embedded in the same call, and not searched for."""
        collections, notes = await self._filtered(clients, asked.collections, filter)
        by_words = asyncio.gather(*(self._by_words(clients, name, text, asked.retrieve_top_k, filter)
                                    for name in collections for text in texts))
        try:
            vectors, degraded = await self._embedded(clients, asked, [*texts, *(beside or ())])
            watch.lap("embed")
            vectors, asking = (None, None) if vectors is None else _parted(vectors, len(texts))
            by_meaning = await asyncio.gather(*(
                self._by_meaning(clients, name, vector, asked.retrieve_top_k, filter)
                for name in collections for vector in (vectors if vectors is not None else [None] * len(texts))))
            words = await by_words
        except BaseException:
            by_words.cancel()
            await asyncio.gather(by_words, return_exceptions=True)
            raise
        if vectors is None and any(part is None for part in words):
            raise unavailable("Embedding", clients.embedding.base_url)
        candidates = self._fused(asked, collections, len(texts), by_meaning, [part or [] for part in words])
        watch.lap("retrieve")
        return Found(candidates, degraded, notes, asking if beside is not None else None)

    async def _filtered(
        self, clients: Clients, collections: Sequence[str], filter: str
    ) -> tuple[Sequence[str], tuple[str, ...]]:
        """The collections that a filter can be asked of, where `partial_filters` lets others be left out."""
        if not filter or not self._settings.partial_filters:
            return collections, ()
        wanted = fields_of(filter)
        schemas = await asyncio.gather(*(asyncio.to_thread(clients.vectors.schema, name) for name in collections))
        own = {"filename", "page_number", "start_time", "end_time", "type"}
        kept = [name for name, schema in zip(collections, schemas, strict=True)
                if not schema or wanted <= own | {field.name for field in schema}]
        left = [name for name in collections if name not in kept]
        return kept, (f"the filter's fields are not in {', '.join(left)}: not searched",) if left else ()

    async def _embedded(
        self, clients: Clients, asked: Asked, texts: Sequence[str]
    ) -> tuple[Float32 | None, tuple[str, ...]]:
        try:
            if "embedding" in asked.endpoints:
                return await clients.embedding.embed(texts, "query"), ()
            return await self._rests.ask("embedding", lambda: clients.embedding.embed(texts, "query")), ()
        except (Unavailable, DeadlineExceeded, RequestError):
            if not self._settings.degrade or self._settings.search_type == "dense":
                raise unavailable("Embedding", clients.embedding.base_url) from None
            return None, ("embedding",)

    async def _by_meaning(
        self, clients: Clients, collection: str, vector: Float32 | None, k: int, filter: str
    ) -> list[FoundRow]:
        if vector is None:
            return []
        return await asyncio.to_thread(clients.vectors.find_dense, collection, vector, k, filter=filter)

    async def _by_words(
        self, clients: Clients, collection: str, text: str, k: int, filter: str
    ) -> list[FoundRow] | None:
        """None where the database, or the settings, have no search by words."""
        if self._settings.search_type == "dense":
            return None

        def search() -> list[FoundRow] | None:
            if not clients.vectors.abilities().sparse:
                return None
            return clients.vectors.find_lexical(collection, text, k, filter=filter)

        return await asyncio.to_thread(search)

    def _fused(
        self, asked: Asked, collections: Sequence[str], texts: int, meaning: Sequence[list[FoundRow]],
        words: Sequence[list[FoundRow]]
    ) -> tuple[Candidate, ...]:
        """Each collection's best, then all together by score; a passage found for several texts counts once."""
        best: dict[tuple[str, str], Candidate] = {}
        for at, collection in enumerate(collections):
            for part in range(at * texts, (at + 1) * texts):
                for rank, hit in enumerate(self._one(meaning[part], words[part], asked.retrieve_top_k)):
                    key = (collection, hit.id)
                    if key not in best or hit.score > best[key].retrieval_score:
                        best[key] = Candidate(hit, rank, collection)
        ordered = sorted(best.values(), key=lambda candidate: -candidate.retrieval_score)
        if texts > 1:
            ordered = [replace(candidate, retrieval_rank=rank) for rank, candidate in enumerate(ordered)]
        return tuple(ordered)

    def _one(self, meaning: list[FoundRow], words: list[FoundRow], k: int) -> list[FoundRow]:
        if self._settings.search_fusion == "rrf":
            return fuse([*meaning, *words], k, RRF_K)
        return weighted(meaning, words, k, self._settings.dense_weight, self._settings.sparse_weight)


def _parted(vectors: Float32, texts: int) -> tuple[Float32, Float32]:
    """Those of the texts, and those of the first text with what stands beside them."""
    return vectors[:texts], np.concatenate((vectors[:1], vectors[texts:]))


def weighted(
    meaning: Sequence[FoundRow], words: Sequence[FoundRow], k: int, dense: float, sparse: float
) -> list[FoundRow]:
    """Both scores brought to [0, 1] (cosine by (1 + c) / 2, BM25 by its arc tangent) and added by weight."""
    scores: dict[str, float] = {}
    hits: dict[str, FoundRow] = {}
    for hit, score in (*((hit, dense * (1 + hit.score) / 2) for hit in meaning),
                       *((hit, sparse * 2 / math.pi * math.atan(hit.score)) for hit in words)):
        before = hits.get(hit.id)
        hits[hit.id] = hit if before is None else replace(hit, ranks={**before.ranks, **hit.ranks})
        scores[hit.id] = scores.get(hit.id, 0.0) + score
    found = [replace(hit, score=scores[key]) for key, hit in hits.items()]
    return sorted(found, key=lambda hit: (-hit.score, hit.id))[:k]
