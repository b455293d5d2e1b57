"""Retrieval quality of the product's own parts on a public collection: store, embedder, ranker.

nDCG@10 with linear gains and Recall@100, as ir-measures counts them, over all queries with a judged document.
"""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ir_measures
import numpy as np
from ir_measures import R, nDCG

from ullage import Embedder, Reranker
from ullage.bench.collections import TestCollection
from ullage.engines.base import Float32
from ullage.rag.rerank import fused
from ullage.store import Chunk, Hit, VectorStore
from ullage.version import __version__

DEPTH = 100
RERANKED = 40
BLOCK = 128
MEASURES = (nDCG @ 10, R @ 100)

Progress = Callable[[str, int, int], None]
"""Called with (stage, done, in all)."""


@dataclass(frozen=True, slots=True)
class Quality:
    """`rows` maps a method to nDCG@10 and Recall@100; `setting` says what was measured where."""

    collection: str
    queries: int
    documents: int
    rows: dict[str, dict[str, float]]
    setting: dict[str, str] = field(default_factory=dict)


def measure(collection: TestCollection, progress: Progress, *, model: str | None = None) -> Quality:
    """Index the collection, search it four ways, rerank, and score every run."""
    begun = time.perf_counter()
    documents = {number: text for number, text in collection.documents.items() if text.strip()}
    queries = {number: text for number, text in collection.queries.items() if number in collection.gains}
    with (
        tempfile.TemporaryDirectory(prefix="ullage-bench-") as folder,
        Embedder() as embedder,
        Reranker(model) as reranker,
    ):
        store = VectorStore(str(Path(folder) / "quality.db"))
        try:
            _index(store, embedder, documents, progress)
            runs = _search(store, embedder, reranker, queries, progress)
        finally:
            store.close()
        card = reranker.card
    return Quality(
        collection=collection.name,
        queries=len(queries),
        documents=len(documents),
        rows={name: _score(run, collection.gains) for name, run in runs.items()},
        setting={
            "ullage": __version__,
            "ranker": f"{card.name} {card.revision}",
            "reranked": f"first {RERANKED} of hybrid",
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "seconds": f"{time.perf_counter() - begun:.0f}",
        },
    )


def _index(store: VectorStore, embedder: Embedder, documents: dict[str, str], progress: Progress) -> None:
    store.create_collection("bench", embedder="bench", dimension=embedder.dimensions)
    numbers = list(documents)
    for begin in range(0, len(numbers), BLOCK):
        block = numbers[begin : begin + BLOCK]
        vectors = embedder.embed([documents[number] for number in block])
        chunks = [Chunk(document=number, content_hash=number, ordinal=0, text=documents[number]) for number in block]
        store.upsert("bench", chunks, vectors)
        progress("embed", begin + len(block), len(numbers))
    store.seal("bench")


Run = dict[str, dict[str, float]]


def _search(
    store: VectorStore, embedder: Embedder, reranker: Reranker, queries: dict[str, str], progress: Progress
) -> dict[str, Run]:
    runs: dict[str, Run] = {name: {} for name in ("BM25", "dense", "hybrid", "reranked", "reranked + hybrid")}
    for done, (number, text) in enumerate(queries.items(), start=1):
        vector = embedder.embed([text], input_type="query")[0]
        runs["BM25"][number] = _scores(store.search_lexical("bench", text, DEPTH))
        runs["dense"][number] = _scores(store.search_dense("bench", vector, DEPTH))
        hybrid = store.search_hybrid("bench", text, vector, DEPTH)
        runs["hybrid"][number] = _scores(hybrid)
        logits = _logits(reranker, text, hybrid[:RERANKED])
        retrieval = [hit.score for hit in hybrid[:RERANKED]]
        runs["reranked"][number] = _reordered(hybrid, fused(logits, retrieval, "absolute"))
        runs["reranked + hybrid"][number] = _reordered(hybrid, fused(logits, retrieval, "relative"))
        progress("search and rerank", done, len(queries))
    return runs


def _logits(reranker: Reranker, query: str, hits: Sequence[Hit]) -> Float32:
    ranked = reranker.rank(query, [hit.chunk.text for hit in hits])
    logits = np.empty(len(hits), np.float32)
    for item in ranked:
        logits[item.index] = item.logit
    return logits


def _scores(hits: Sequence[Hit]) -> dict[str, float]:
    return {hit.chunk.document: hit.score for hit in hits}


def _reordered(hits: Sequence[Hit], order: Sequence[int]) -> dict[str, float]:
    """The reranked head in its new order, the tail behind it as it was."""
    head = [hits[i] for i in order]
    return {hit.chunk.document: -float(rank) for rank, hit in enumerate([*head, *hits[len(head) :]])}


def _score(run: Run, gains: dict[str, dict[str, int]]) -> dict[str, float]:
    judged = {query: judgements for query, judgements in gains.items() if query in run}
    found = ir_measures.calc_aggregate(MEASURES, judged, run)
    return {str(measure): round(float(found[measure]), 4) for measure in MEASURES}
