"""Rows that fit the model: a passage is refused, cut, or read in windows that overlap. A query is never cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ullage.errors import TooLong
from ullage.models.tokenize import Tokens

Truncate = Literal["NONE", "END", "WINDOW"]
"""Of a passage over the limit: refuse the request, cut the passage's end, or read it in windows."""

OVERLAP = 64
"""Tokens that a window repeats of the one before, a quarter of it at most: about two sentences, so that what one
window cuts apart is whole in the next. A query may take half a row: so windows of a passage are at most three times
its tokens, and a long query cannot make a passage cost many times its size."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The rows of one passage, one unless it is read in windows, and how many of its tokens no row holds."""

    rows: tuple[Tokens, ...]
    cut: int

    @property
    def tokens(self) -> int:
        return sum(len(row) for row in self.rows)


def fit(
    alone: Tokens, encoded: Sequence[Tokens], limit: int, truncate: Truncate, *,
    most_windows: int | None = None, passage_tokens: int | None = None,
) -> list[Fitted]:
    """The rows of each passage, at most `limit` tokens each, template included.

    `alone` is the query with an empty passage. `passage_tokens` cuts every passage to so many tokens first. Raises
    TooLong for NONE and a row over the limit, or a query that leaves a passage no room, or windows less than half.
    """
    if len(alone) >= limit:
        raise too_long(len(alone), limit, "the query alone")
    if passage_tokens is not None:
        encoded = [_shortened(tokens, passage_tokens) for tokens in encoded]
    longest = max(len(tokens) for tokens in encoded)
    if longest > limit and truncate == "NONE":
        raise too_long(longest, limit)
    if truncate == "WINDOW":
        if longest > limit and len(alone) > limit // 2:
            raise too_long(longest, limit, f"of which the query takes {len(alone)}; windows want half")
        return [windows(tokens, limit, most_windows) for tokens in encoded]
    cut = [tokens.cut_to(limit) for tokens in encoded]
    return [Fitted((tokens,), tokens.cut) for tokens in cut]


def windows(tokens: Tokens, limit: int, most: int | None = None) -> Fitted:
    """Rows of at most `limit` tokens that hold all of the last text between them, or its first `most` windows."""
    body = np.flatnonzero(tokens.segment == tokens.last)
    room = limit - (len(tokens) - len(body))
    if len(body) <= room:
        return Fitted((tokens,), tokens.cut)
    overlap = min(OVERLAP, room // 4)
    starts = range(0, len(body) - overlap, room - overlap)[:most]
    rows = tuple(_only(tokens, body, start, start + room) for start in starts)
    return Fitted(rows, tokens.cut + max(0, len(body) - (starts[-1] + room)))


def _only(tokens: Tokens, body: np.ndarray, start: int, end: int) -> Tokens:
    """The row with only `body[start:end]` of its last text."""
    stays = np.ones(len(tokens), bool)
    stays[body[:start]] = stays[body[end:]] = False
    return Tokens(tokens.ids[stays], tokens.types[stays], tokens.segment[stays], tokens.offsets[stays], 0, tokens.last)


def _shortened(tokens: Tokens, most: int) -> Tokens:
    body = int((tokens.segment == tokens.last).sum())
    return tokens.cut_to(len(tokens) - max(0, body - most))


def too_long(length: int, limit: int, what: str = "") -> TooLong:
    """The phrase is matched by clients: keep it to the letter."""
    said = f"Input length {length} exceeds maximum allowed token size {limit}"
    return TooLong(f"{said} ({what})" if what else said)
