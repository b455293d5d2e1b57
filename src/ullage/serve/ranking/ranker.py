"""Text to logits: tokenize, schedule, score. Knows nothing of HTTP.

Two kinds of model are served. A cross-encoder reads query and passage as one sequence; its logits stand alone. The
bundled fusion reads them apart and compares the passages of one request with each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from ullage.engines.base import Float32
from ullage.engines.encoder import row_of
from ullage.errors import EngineFailed, TooLong
from ullage.models.card import Card
from ullage.models.lexical import analyze
from ullage.models.tokenize import Tokenizer, Tokens
from ullage.schedule import Scheduler, Times
from ullage.serve.ranking.fusion import (
    PassageFeatures,
    QueryFeatures,
    fuse,
    lexical_features,
    passage_features,
    query_features,
)

Truncate = Literal["NONE", "END"]


@dataclass(frozen=True, slots=True)
class Scores:
    """`logits` [n] fp32 in request order; per passage the tokens read and the tokens cut; seconds of each phase."""

    logits: Float32
    tokens: tuple[int, ...]
    cut: tuple[int, ...]
    prompt_tokens: int
    tokenize_s: float
    queue_s: float
    compute_s: float

    def order(self) -> list[int]:
        """Indices, best first; equal logits keep the request's order."""
        return [int(i) for i in np.argsort(-self.logits, kind="stable")]


class Ranker:
    """One model behind one scheduler. `limit` is the longest row in tokens, template included."""

    def __init__(self, card: Card, tokenizer: Tokenizer, scheduler: Scheduler, *, limit: int) -> None:
        self.card = card
        self.limit = limit
        self._tokenizer = tokenizer
        self._scheduler = scheduler

    async def score(self, query: str, passages: Sequence[str], truncate: Truncate = "NONE") -> Scores:
        """One logit for every passage.

        Raises TooLong (NONE and a row over the limit, or a query that leaves a passage no room), Overloaded,
        NotReady, OutOfMemory or EngineFailed.
        """
        return await (self._fusion if self.card.kind == "fusion" else self._pairs)(query, passages, truncate)

    async def _pairs(self, query: str, passages: Sequence[str], truncate: Truncate) -> Scores:
        begun = time.perf_counter()
        alone, *encoded = await asyncio.to_thread(self._tokenizer.encode_pairs, query, ["", *passages])
        encoded = self._fit(alone, encoded, truncate)
        tokenized = time.perf_counter()
        times = Times()
        rows = [row_of(tokens) for tokens in encoded]
        logits = await self._scheduler.submit(rows, _logit, pure="logit", times=times)
        return _scores(np.asarray(logits, np.float32), encoded, 0, tokenized - begun, times)

    async def _fusion(self, query: str, passages: Sequence[str], truncate: Truncate) -> Scores:
        begun = time.perf_counter()
        alone, *encoded = await asyncio.to_thread(self._tokenizer.encode, [query, *passages])
        encoded = self._fit(alone, encoded, truncate)
        tokenized = time.perf_counter()
        asked, times = Times(), Times()
        [features] = await self._scheduler.submit([row_of(alone)], partial(_query, query, alone), times=asked)
        rows = [row_of(tokens) for tokens in encoded]
        parts = await self._scheduler.submit(rows, partial(_passage, features), times=times)
        logits = await asyncio.to_thread(_combine, query, passages, parts)
        both = Times(asked.queue_s + times.queue_s, asked.compute_s + times.compute_s)
        return _scores(logits, encoded, len(alone), tokenized - begun, both)

    def _fit(self, alone: Tokens, encoded: list[Tokens], truncate: Truncate) -> list[Tokens]:
        """Cut the passages, never the query; refuse a query that leaves a passage no room."""
        if len(alone) >= self.limit:
            raise _too_long(len(alone), self.limit, "the query alone")
        longest = max(len(tokens) for tokens in encoded)
        if longest > self.limit and truncate == "NONE":
            raise _too_long(longest, self.limit)
        return [tokens.cut_to(self.limit) for tokens in encoded]


def _too_long(length: int, limit: int, what: str = "") -> TooLong:
    """The phrase is matched by clients: keep it to the letter."""
    said = f"Input length {length} exceeds maximum allowed token size {limit}"
    return TooLong(f"{said} ({what})" if what else said)


def _scores(logits: Float32, encoded: list[Tokens], query_tokens: int, tokenize_s: float, times: Times) -> Scores:
    lengths = tuple(len(tokens) for tokens in encoded)
    return Scores(
        logits=logits,
        tokens=lengths,
        cut=tuple(tokens.cut for tokens in encoded),
        prompt_tokens=query_tokens + sum(lengths),
        tokenize_s=tokenize_s,
        queue_s=times.queue_s,
        compute_s=times.compute_s,
    )


def _logit(_: int, row: Float32, __: Float32 | None) -> float:
    return float(row[0])


def _query(text: str, tokens: Tokens, _: int, __: Float32, vectors: Float32 | None) -> QueryFeatures:
    return query_features(text, _needed(vectors), tokens.spans, tokens.special)


def _passage(query: QueryFeatures, _: int, __: Float32, vectors: Float32 | None) -> PassageFeatures:
    return passage_features(query, _needed(vectors))


def _needed(vectors: Float32 | None) -> Float32:
    if vectors is None:
        raise EngineFailed("the engine gave no token vectors, which this model's score is made of")
    return vectors


def _combine(query: str, passages: Sequence[str], parts: Sequence[PassageFeatures]) -> Float32:
    lexical = lexical_features(analyze(query), [analyze(passage) for passage in passages])
    return fuse([p.dense for p in parts], [p.late for p in parts], [p.window for p in parts], lexical)
