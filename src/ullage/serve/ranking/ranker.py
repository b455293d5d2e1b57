"""Text to logits: tokenize, schedule, score. Knows nothing of HTTP.

Two kinds of model are served. A cross-encoder reads query and passage as one sequence; its logits stand alone. The
bundled fusion reads them apart and compares the passages of one request with each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from ullage.engines.base import Float32, Row
from ullage.engines.encoder import row_of
from ullage.errors import EngineFailed
from ullage.models.card import Card
from ullage.models.lexical import analyze
from ullage.models.tokenize import Tokenizer, Tokens
from ullage.schedule import Scheduler, Times
from ullage.serve.encoder import about_tokens
from ullage.serve.ranking.fit import Fitted, Truncate, fit
from ullage.serve.ranking.fusion import (
    PassageFeatures,
    QueryFeatures,
    fuse,
    lexical_features,
    named_features,
    passage_features,
    query_features,
)

T = TypeVar("T")

LARGE_TOKENS = 4096
"""About as many make a call large. Large calls are tokenized two at a time, in the order they came: else 32 calls of
100 passages that come together are all ready at the same late moment, and the engine waits for it. Small ones go
beside them."""

PART_TOKENS = 2048
"""About as many of a large call that finds a fast engine idle are tokenized before the engine begins, and the others
while it computes: of a H100's 8 ms for so many, reading them takes 2."""

_large = ThreadPoolExecutor(2, thread_name_prefix="tokenize")


@dataclass(frozen=True, slots=True)
class Scores:
    """`logits` [n] fp32 in request order; per passage the tokens read, the tokens cut, and the windows it was read in;
    seconds of each phase."""

    logits: Float32
    tokens: tuple[int, ...]
    cut: tuple[int, ...]
    windows: tuple[int, ...]
    prompt_tokens: int
    tokenize_s: float
    queue_s: float
    compute_s: float

    def order(self) -> list[int]:
        """Indices, best first; equal logits keep the request's order."""
        return [int(i) for i in np.argsort(-self.logits, kind="stable")]


class Ranker:
    """One model behind one scheduler. `limit` is the longest row in tokens, template included. `overlaps`: the engine
    does not need the processor, so that texts are tokenized while it computes."""

    def __init__(
        self, card: Card, tokenizer: Tokenizer, scheduler: Scheduler, *, limit: int, overlaps: bool = False
    ) -> None:
        self.card = card
        self.limit = limit
        self._overlaps = overlaps and card.kind != "fusion"
        self._tokenizer = tokenizer
        self._scheduler = scheduler

    async def score(
        self, query: str, passages: Sequence[str], truncate: Truncate = "NONE", *,
        most_windows: int | None = None, passage_tokens: int | None = None,
    ) -> Scores:
        """One logit for every passage; of one read in windows, the largest.

        Raises TooLong (NONE and a row over the limit, or a query that leaves a passage no room), Overloaded,
        NotReady, OutOfMemory or EngineFailed.
        """
        begun = time.perf_counter()
        fusion = self.card.kind == "fusion"
        about = about_tokens(passages, self.limit, beside="" if fusion else query)
        self._scheduler.check_room(about)
        fitting = partial(fit, limit=self.limit, truncate=truncate, most_windows=most_windows,
                          passage_tokens=passage_tokens)
        large = about > LARGE_TOKENS
        if large and self._overlaps and self._scheduler.idle:
            return await self._in_parts(query, passages, about, fitting)
        threads = _large if large else None
        encoding = asyncio.get_running_loop().run_in_executor(threads, self._encode, query, passages, fusion)
        alone, *encoded = await encoding
        fitted = fitting(alone, encoded)
        tokenize_s = time.perf_counter() - begun
        times = Times()
        if fusion:
            logits = await self._fusion(query, alone, passages, fitted, times)
        else:
            logits = await self._pairs(fitted, times)
        return _scores(logits, fitted, tokenize_s, times, beside=len(alone) if fusion else 0)

    async def _in_parts(
        self, query: str, passages: Sequence[str], about: int,
        fitting: Callable[[Tokens, Sequence[Tokens]], list[Fitted]],
    ) -> Scores:
        """Some passages after the others, so that the engine begins while most are not tokenized yet. The first part
        alone counts as tokenizing, what is neither that nor compute as waiting."""
        begun = time.perf_counter()
        first_s = 0.0
        fitted: list[Fitted] = []
        times = Times()

        async def rows() -> AsyncGenerator[list[Row], None]:
            nonlocal first_s
            for part in _parts(query, passages, self.limit):
                loop = asyncio.get_running_loop()
                alone, *encoded = await loop.run_in_executor(None, self._encode, query, part, False)
                some = fitting(alone, encoded)
                fitted.extend(some)
                first_s = first_s or time.perf_counter() - begun
                yield [row_of(tokens) for each in some for tokens in each.rows]

        async with aclosing(rows()) as parts:
            scored = await self._scheduler.submit_parts(parts, _logit, about=about, pure="logit", times=times)
        times.queue_s = max(0.0, times.queue_s - first_s)
        return _scores(self._logits(scored, fitted), fitted, first_s, times)

    def _encode(self, query: str, passages: Sequence[str], fusion: bool) -> list[Tokens]:
        """The query with an empty passage, or alone, and then the passages."""
        if fusion:
            return [*self._tokenizer.encode([query]), *self._tokenizer.encode(passages, offsets=False)]
        return self._tokenizer.encode_pairs(query, ["", *passages])

    async def _pairs(self, fitted: Sequence[Fitted], times: Times) -> Float32:
        rows = [row_of(tokens) for each in fitted for tokens in each.rows]
        return self._logits(await self._scheduler.submit(rows, _logit, pure="logit", times=times), fitted)

    def _logits(self, scored: Sequence[float], fitted: Sequence[Fitted]) -> Float32:
        logits = [max(part) for part in _by_passage(scored, fitted)]
        return np.asarray(logits, np.float32) / np.float32(self.card.temperature)

    async def _fusion(
        self, query: str, alone: Tokens, passages: Sequence[str], fitted: Sequence[Fitted], times: Times
    ) -> Float32:
        asked, read = Times(), Times()
        first, rows = row_of(alone), [row_of(tokens) for each in fitted for tokens in each.rows]
        with self._scheduler.reserve(first.tokens + sum(row.tokens for row in rows)) as held:
            [features] = await self._scheduler.submit([first], partial(_query, query, alone), times=asked, held=held)
            parts = await self._scheduler.submit(rows, partial(_passage, features), times=read, held=held)
        times.queue_s, times.compute_s = asked.queue_s + read.queue_s, asked.compute_s + read.compute_s
        return await asyncio.to_thread(_combine, query, passages, [_best(p) for p in _by_passage(parts, fitted)])


def _parts(query: str, passages: Sequence[str], limit: int) -> Iterator[Sequence[str]]:
    """Passages in their order, of about `PART_TOKENS` together with the query before each; the last may be fewer."""
    begin = about = 0
    for end, passage in enumerate(passages, start=1):
        about += about_tokens([passage], limit, beside=query)
        if about >= PART_TOKENS or end == len(passages):
            yield passages[begin:end]
            begin, about = end, 0


def _scores(logits: Float32, fitted: Sequence[Fitted], tokenize_s: float, times: Times, *, beside: int = 0) -> Scores:
    """`beside` are tokens read beside the passages' rows."""
    return Scores(
        logits=logits,
        tokens=tuple(each.tokens for each in fitted),
        cut=tuple(each.cut for each in fitted),
        windows=tuple(len(each.rows) for each in fitted),
        prompt_tokens=beside + sum(each.tokens for each in fitted),
        tokenize_s=tokenize_s,
        queue_s=times.queue_s,
        compute_s=times.compute_s,
    )


def _by_passage(results: Sequence[T], fitted: Sequence[Fitted]) -> list[Sequence[T]]:
    """Results of rows laid end to end, those of each passage together."""
    ends = np.cumsum([len(each.rows) for each in fitted]).tolist()
    return [results[end - len(each.rows) : end] for each, end in zip(fitted, ends, strict=True)]


def _best(windows: Sequence[PassageFeatures]) -> PassageFeatures:
    """A passage's features: of each, the largest in any window."""
    return PassageFeatures(
        max(w.dense for w in windows), max(w.late for w in windows), max(w.window for w in windows)
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
    asked, terms = analyze(query), [analyze(passage) for passage in passages]
    return fuse([p.dense for p in parts], [p.late for p in parts], [p.window for p in parts],
                lexical_features(asked, terms), named_features(asked, terms))
