"""Text to vectors: tokenize, schedule, pool. Knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ullage.engines.base import Float32
from ullage.engines.encoder import row_of
from ullage.errors import TooLong
from ullage.models.tokenize import Tokens
from ullage.schedule import Times
from ullage.serve.encoder import Encoder, about_tokens

Truncate = Literal["NONE", "START", "END"]
InputType = Literal["query", "passage"]


@dataclass(frozen=True, slots=True)
class Vectors:
    """`rows` [n, hidden] fp32, unit length where the card says so; tokens read and cut; seconds of each phase."""

    rows: Float32
    tokens: tuple[int, ...]
    cut: tuple[int, ...]
    tokenize_s: float
    queue_s: float
    compute_s: float

    @property
    def prompt_tokens(self) -> int:
        return sum(self.tokens)


async def embed(
    encoder: Encoder, texts: Sequence[str], truncate: Truncate = "NONE", input_type: InputType = "passage"
) -> Vectors:
    """One vector for every text, after the prefix that the card puts before a query or a passage.

    Raises TooLong, Overloaded, NotReady, OutOfMemory or EngineFailed.
    """
    begun = time.perf_counter()
    encoder.scheduler.check_room(about_tokens(texts, encoder.profile.max_sequence))
    prefix = encoder.card.query_prefix if input_type == "query" else encoder.card.passage_prefix
    encoded = await asyncio.to_thread(encoder.tokenizer.encode, texts, prefix)
    encoded = _fit(encoded, encoder.profile.max_sequence, truncate)
    tokenized = time.perf_counter()
    times = Times()
    rows = await encoder.scheduler.submit([row_of(tokens) for tokens in encoded], _keep, pure="vector", times=times)
    return Vectors(
        rows=np.stack(rows),
        tokens=tuple(len(tokens) for tokens in encoded),
        cut=tuple(tokens.cut for tokens in encoded),
        tokenize_s=tokenized - begun,
        queue_s=times.queue_s,
        compute_s=times.compute_s,
    )


def _fit(encoded: list[Tokens], limit: int, truncate: Truncate) -> list[Tokens]:
    longest = max(len(tokens) for tokens in encoded)
    if longest > limit and truncate == "NONE":
        raise TooLong(f"Input length {longest} exceeds maximum allowed token size {limit}")
    return [tokens.cut_to(limit, "end" if truncate == "START" else "start") for tokens in encoded]


def _keep(_: int, row: Float32, __: Float32 | None) -> Float32:
    return row.copy()
