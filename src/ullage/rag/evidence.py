"""Which sentences of the passages speak to the question, and how well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ullage.rag.passage import Passage
from ullage.rag.question import Question, without_each_term
from ullage.rag.reading import Reading, reading
from ullage.rag.sentences import Unit
from ullage.rag.subject import Surroundings, missing_subjects
from ullage.rag.values import names, values

Float32 = npt.NDArray[np.float32]

PASSAGES_READ = 8
CANDIDATES_EMBEDDED = 32
"""Sentences that are compared with the question by embedding: the best by words and rank."""

HEADER_CREDIT = 0.9
HEADING_CREDIT = 0.8
BEFORE_CREDIT = 0.5
AFTER_CREDIT = 0.25
"""What a term is worth that stands not in the sentence but around it."""

COSINE_OF_NOTHING, COSINE_OF_WORDS = 0.25, 0.45
"""A cosine guessed from the share of the question's words that stand in the sentence."""

OTHER_WORDS_CREDIT = 0.7
"""At most what a term is worth that the sentence seems to say in other words."""


@dataclass(slots=True)
class Evidence:
    """One sentence of passage number `passage` (0 = best ranked), with what speaks for it. Made eighty times for a
    question, and so not frozen; nobody changes it.

    `credit` maps each term of the question to [0, 1]: is it in the sentence, around it, or said in other words?
    `coverage` is the share of the question's term weight that has credit, `own` that in the sentence and its table's
    head alone, `asked` that of the terms which say what is asked of the things named.
    `answers` says whether it holds a value of a wanted kind that the question does not hold itself; it is True when
    nothing particular is wanted. `missing` are names and values of the question that it does not speak of. `cosine`
    and `gap` (how much a term of the question that is nowhere near leads away from the sentence) are 0 until embedded.
    `behind` is the rank that counts against it.
    """

    passage: int
    unit: Unit
    around: Surroundings
    credit: Mapping[str, float]
    coverage: float
    own: float
    asked: float
    answers: bool
    missing: tuple[str, ...]
    cosine: float = 0.0
    gap: float = 0.0
    behind: int = 0
    score: float = 0.0

    @property
    def text(self) -> str:
        return self.unit.spoken

    @property
    def embedded_text(self) -> str:
        """The sentence under its innermost heading: what is compared with the question."""
        heading = self.around.headings[-1] if self.around.headings else ""
        return f"{heading}: {self.text}" if heading else self.text


def candidates(question: Question, passages: Sequence[Passage], ranks: Sequence[int] = ()) -> list[Evidence]:
    """Sentences of the passages, the best first by words, kinds of value and rank; no embedding yet.

    Without `ranks` the first passages are read, and each counts by its place; with them all are, each by its rank.
    """
    found: list[Evidence] = []
    seen: set[tuple[str, str]] = set()
    scales = _Scales(question)
    for at, passage in enumerate(passages if ranks else passages[:PASSAGES_READ]):
        read = reading(passage)
        nearby = _Nearby(question.terms, read)
        for index, spoken in enumerate(read.spoken):
            key = (passage.document, spoken)
            if key not in seen:
                seen.add(key)
                credit = nearby.credit(index)
                found.append(_weigh(scales, at, read, index, credit, ranks[at] if ranks else at))
    return _ranked(found)


def with_vectors(question: Question, found: Sequence[Evidence], asking: Float32, saying: Float32) -> list[Evidence]:
    """The same sentences weighed again, best first, by vectors [n, dimension]: `asking` of the question and of each
    text of `without_each_term`, `saying` of each `embedded_text`."""
    terms = list(without_each_term(question.text))
    scales = _Scales(question)
    cosines = _unit(saying) @ _unit(asking).T
    nearer = (cosines[:, :1] - cosines[:, 1:]).tolist()
    return _ranked(_in_other_words(scales, item, cosine, terms, gains)
                   for item, cosine, gains in zip(found, cosines[:, 0].tolist(), nearer, strict=True))


def without_vectors(found: Sequence[Evidence]) -> list[Evidence]:
    """The same sentences where no embedder answers: words alone say how near they are to the question."""
    return _ranked(_by_words(item) for item in found)


def _by_words(item: Evidence) -> Evidence:
    cosine = COSINE_OF_NOTHING + COSINE_OF_WORDS * item.own
    return replace(item, cosine=cosine, score=_score(item.asked, item.answers, item.missing, item.behind, cosine))


def _unit(vectors: Float32) -> Float32:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return np.asarray(vectors / lengths, np.float32)


class _Scales:
    """A question's terms as weights, with their sums, for the many sentences that are weighed against it."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.asked = {term: weight for term, weight in question.terms.items() if term in question.asked}
        self._all, self._of = sum(question.terms.values()), sum(self.asked.values())

    def shares(self, credit: Mapping[str, float]) -> tuple[float, float, float]:
        """(of all terms, of those in the sentence or its table's head, of those that say what is asked)."""
        all_of_it = own = asked = 0.0
        for term, weight in self.question.terms.items():
            share = credit[term]
            all_of_it += weight * share
            if share >= HEADER_CREDIT:
                own += weight
            if term in self.asked:
                asked += weight * share
        return (all_of_it / self._all if self._all else 1.0, own / self._all if self._all else 1.0,
                asked / self._of if self._of else 1.0)


class _Nearby:
    """What the terms of a question are worth in a sentence of a passage, from the sentence itself outwards."""

    def __init__(self, terms: Iterable[str], read: Reading) -> None:
        self._terms, self._read = tuple(terms), read
        self._spans = self._from_to(rows=True)
        self._outside_rows = self._from_to(rows=False) if any(unit.kind == "row" for unit in read.units) else {}

    def _from_to(self, *, rows: bool) -> dict[str, tuple[int, int]]:
        """The first and the last sentence with each term; rows of a table lend one another nothing."""
        spans = {}
        for term in self._terms:
            at = [index for index, said in enumerate(self._read.terms)
                  if term in said and (rows or self._read.units[index].kind != "row")]
            if at:
                spans[term] = (at[0], at[-1])
        return spans

    def credit(self, index: int) -> dict[str, float]:
        read = self._read
        own, heads, above = read.own[index], read.heads[index], read.above
        spans = self._spans if read.units[index].kind != "row" else self._outside_rows
        credit = {}
        for term in self._terms:
            if term in own:
                credit[term] = 1.0
            elif term in heads:
                credit[term] = HEADER_CREDIT
            elif term in above:
                credit[term] = HEADING_CREDIT
            else:
                first, last = spans.get(term, (index, index))
                credit[term] = BEFORE_CREDIT if first < index else AFTER_CREDIT if last > index else 0.0
        return credit


def _in_other_words(
    scales: _Scales, item: Evidence, cosine: float, terms: Sequence[str], nearer: Sequence[float]
) -> Evidence:
    """`nearer` says how much nearer the sentence is to the question than to that without each of `terms`."""
    credit = dict(item.credit)
    gap = 0.0
    for term, gain in zip(terms, nearer, strict=True):
        if credit[term] < BEFORE_CREDIT:
            said = min(OTHER_WORDS_CREDIT, max(0.0, gain / 0.06))
            credit[term] = max(credit[term], said)
            if term in scales.asked:
                gap = max(gap, -gain)
    coverage, _, asked = scales.shares(credit)
    return Evidence(item.passage, item.unit, item.around, credit, coverage, item.own, asked, item.answers, item.missing,
                    cosine, gap, item.behind, _score(asked, item.answers, item.missing, item.behind, cosine, gap))


def _weigh(scales: _Scales, rank: int, read: Reading, index: int, credit: dict[str, float], behind: int) -> Evidence:
    question, unit, around = scales.question, read.units[index], read.around(index)
    plain = unit.plain
    coverage, own, asked = scales.shares(credit)
    answers = holds_answer(question, plain, f"{plain} {around.header}")
    missing = missing_subjects(question, plain, around)
    return Evidence(rank, unit, around, credit, coverage, own, asked, answers, missing, behind=behind,
                    score=_score(asked, answers, missing, behind))


def holds_answer(question: Question, text: str, units: str = "") -> bool:
    """Is there a value of a wanted kind in `text` that the question does not hold itself?

    `units` is the text where the value's unit of measure may stand, a table's head included.
    """
    if not question.wanted:
        return True
    known = question.text.lower()
    found = values(text) + (names(text) if "name" in question.wanted else [])
    fits = [value for value in found if value.kind in question.wanted and value.text.lower() not in known]
    return bool(fits) and (question.unit is None or question.unit.search(units or text) is not None)


def _ranked(found: Iterable[Evidence]) -> list[Evidence]:
    return sorted(found, key=lambda item: -item.score)


def _score(
    asked: float, answers: bool, missing: tuple[str, ...], behind: int, cosine: float = 0.0, gap: float = 0.0
) -> float:
    """Log odds that this sentence answers, above those that nothing does: at 0 it is worth an answer.

    Multinomial fit (which sentence, or none) over 138 questions on the sample handbook, 52 of them unanswerable, with
    MiniLM cosines; another embedder wants another fit. Left out one by one: the right sentence for 67 of 86, 44 of 52
    declined. The last term holds 0.5 more than the fit gives, which trades declined questions for answered ones.
    """
    return (
        3.8 * asked
        + 5.7 * cosine
        + (2.6 if answers else 0.0)
        - 3.8 * min(len(missing), 2)
        - 10.0 * gap
        - 0.42 * behind
        - 6.9
    )
