"""A passage as it is weighed: its sentences, what each of them says, and what stands around it. No question yet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ullage.models.lexical import analyze
from ullage.rag.passage import Passage
from ullage.rag.sentences import Unit, split
from ullage.rag.subject import Surroundings

READINGS_KEPT = 512
LONGEST_KEPT = 6_000
"""Characters. The passages of one answer are read for the evidence and for the prompt, and those of a conversation or
of a document that many ask about again and again. 13 KiB each of 2,000 characters, 13 MiB at most in all."""


@dataclass(frozen=True, slots=True)
class Reading:
    """`units` in reading order, and for each of them its text, `spoken` as it is quoted, `terms` of its text, `own` of
    its own words (a row's without its table's head) and `heads` of its table's head. `above` are those of the headings.
    """

    headings: tuple[str, ...]
    units: tuple[Unit, ...]
    texts: tuple[str, ...]
    spoken: tuple[str, ...]
    terms: tuple[frozenset[str], ...]
    own: tuple[frozenset[str], ...]
    heads: tuple[frozenset[str], ...]
    above: frozenset[str]

    def around(self, index: int) -> Surroundings:
        """Rows of a table lend one another nothing."""
        here = self.units[index]
        row = here.kind == "row"
        if row:
            earlier = tuple(unit.text for unit in self.units[:index] if unit.kind != "row")
            later = tuple(unit.text for unit in self.units[index + 1 :] if unit.kind != "row")
        else:
            earlier, later = self.texts[:index], self.texts[index + 1 :]
        return Surroundings(self.headings, " ".join(here.header), earlier, later, row)


def reading(passage: Passage) -> Reading:
    """Kept for a while, unless it is long."""
    read = _kept if len(passage.text) <= LONGEST_KEPT else _read
    return read(passage.text, passage.body_at, passage.headings)


def _read(text: str, body_at: int, headings: tuple[str, ...]) -> Reading:
    units = tuple(split(text, body_at))
    terms = tuple(frozenset(analyze(unit.text)) for unit in units)
    return Reading(
        headings=headings,
        units=units,
        texts=tuple(unit.text for unit in units),
        spoken=tuple(unit.spoken for unit in units),
        terms=terms,
        own=tuple(said if unit.kind != "row" else frozenset(analyze(unit.plain))
                  for unit, said in zip(units, terms, strict=True)),
        heads=tuple(frozenset(analyze(" ".join(unit.header))) if unit.header else _NOTHING for unit in units),
        above=frozenset(analyze(" ".join(headings))),
    )


_NOTHING: frozenset[str] = frozenset()
_kept = lru_cache(maxsize=READINGS_KEPT)(_read)
