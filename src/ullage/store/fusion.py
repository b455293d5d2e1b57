"""Two searches as one list."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from ullage.models.lexical import analyze, numbers
from ullage.store.passage import Chunk, Hit
from ullage.store.schema import chunk_of

RRF_K = 60
_DIGITS = re.compile(r"[0-9]+")
_WITH_DIGIT = re.compile(r"\S*[\d\x80-\U0010ffff]\S*")
"""Words between blanks that can make a term with a digit (m² has one too); the rest of a passage need not be read."""


@dataclass(slots=True)
class FoundRow:
    """A hit as the database gave it, read only as far as its order needs: about half of what two searches find is
    dropped when they are fused. `id` is its chunk's, `score` and `ranks` are as Hit's."""

    id: str
    score: float
    ranks: dict[str, int]
    row: Mapping[str, Any]

    @property
    def text(self) -> str:
        return str(self.row["text"])

    @property
    def chunk(self) -> Chunk:
        """Made anew each time."""
        return chunk_of(self.row)

    def read(self) -> Hit:
        return Hit(self.chunk, self.score, self.ranks)


def by_number(query: str, hits: Sequence[FoundRow]) -> list[FoundRow]:
    """The hits of a search by words; where the query names numbers or identifiers (terms with a digit), those that
    hold some of them get a rank of their own, more of them first.

    A part number or a file reference says exactly what is meant, and vectors of meaning do not know it: with two ranks
    alone a passage that is first by words and fortieth by meaning came behind many that were middling in both.
    """
    named = numbers(analyze(query))
    if not named:
        return list(hits)
    marks = {max(_DIGITS.findall(term), key=len, default="") for term in named}
    shared = [_shared(named, marks, hit.text) for hit in hits]
    order = sorted((at for at, count in enumerate(shared) if count), key=lambda at: (-shared[at], at))
    ranks = {at: rank for rank, at in enumerate(order, start=1)}
    return [replace(hit, ranks={**hit.ranks, "number": ranks[at]}) if at in ranks else hit
            for at, hit in enumerate(hits)]


def _shared(named: Set[str], marks: Set[str], text: str) -> int:
    """How many of `named` stand in `text`. Plain text without a term's longest run of digits (`marks`), thousands'
    commas aside, cannot have the term: most passages need not be read."""
    if text.isascii():
        bare = text.replace(",", "")
        if not any(mark in bare for mark in marks):
            return 0
    return len(named & set(analyze(" ".join(_WITH_DIGIT.findall(text)))))


def fuse(hits: Sequence[FoundRow], k: int, rrf: int) -> list[FoundRow]:
    """Reciprocal rank fusion; ties go to the better best rank, then to the id."""
    ranks: dict[str, dict[str, int]] = {}
    rows: dict[str, Mapping[str, Any]] = {}
    for hit in hits:
        rows[hit.id] = hit.row
        ranks.setdefault(hit.id, {}).update(hit.ranks)
    order = sorted((-sum(1 / (rrf + rank) for rank in by.values()), min(by.values()), i) for i, by in ranks.items())
    return [FoundRow(i, -score, ranks[i], rows[i]) for score, _, i in order[:k]]
