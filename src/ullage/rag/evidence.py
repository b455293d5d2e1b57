"""Which sentences of the passages speak to the question, and how well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ullage.models.lexical import analyze
from ullage.rag.passage import Passage
from ullage.rag.question import Question
from ullage.rag.sentences import Unit, split
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


@dataclass(frozen=True, slots=True)
class Evidence:
    """One sentence of passage number `passage` (0 = best ranked), with what speaks for it.

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
    read = passages if ranks else passages[:PASSAGES_READ]
    for at, passage in enumerate(read):
        units = split(passage.text, passage.body_at)
        terms = [frozenset(analyze(unit.text)) for unit in units]
        said = [question.terms.keys() & own for own in terms]
        above = frozenset(analyze(" ".join(passage.headings)))
        for index, unit in enumerate(units):
            key = (passage.document, unit.spoken)
            if key not in seen:
                seen.add(key)
                own = terms[index] if unit.kind != "row" else frozenset(analyze(unit.plain))
                levels = _levels(own, unit, above, *_near(units, said, index))
                found.append(_weigh(scales, at, unit, _around(passage, units, index), levels,
                                    ranks[at] if ranks else at))
    return _ranked(found)


def texts_to_embed(question: Question, found: Sequence[Evidence]) -> tuple[list[str], list[str]]:
    """As queries: the question, then the question without each of its terms; as passages: the sentences."""
    return [question.text, *question.without_each_term().values()], [item.embedded_text for item in found]


def with_vectors(question: Question, found: Sequence[Evidence], asking: Float32, saying: Float32) -> list[Evidence]:
    """The same sentences weighed again, best first, by the vectors [n, dimension] of `texts_to_embed`."""
    terms = list(question.without_each_term())
    scales = _Scales(question)
    cosines = _unit(saying) @ _unit(asking).T
    return _ranked(
        _in_other_words(scales, item, float(row[0]), dict(zip(terms, (row[0] - row[1:]).tolist(), strict=True)))
        for item, row in zip(found, cosines, strict=True)
    )


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
        self.terms = question.terms
        self.asked = {term: weight for term, weight in question.terms.items() if term in question.asked}
        self._all, self._of = sum(self.terms.values()), sum(self.asked.values())

    def coverage(self, credit: Mapping[str, float]) -> float:
        return sum(weight * credit[term] for term, weight in self.terms.items()) / self._all if self._all else 1.0

    def own(self, credit: Mapping[str, float]) -> float:
        """Of the terms that stand in the sentence or its table's head."""
        if not self._all:
            return 1.0
        return sum(weight for term, weight in self.terms.items() if credit[term] >= HEADER_CREDIT) / self._all

    def of_asked(self, credit: Mapping[str, float]) -> float:
        return sum(weight * credit[term] for term, weight in self.asked.items()) / self._of if self._of else 1.0


def _in_other_words(scales: _Scales, item: Evidence, cosine: float, nearer: Mapping[str, float]) -> Evidence:
    credit = dict(item.credit)
    gap = 0.0
    for term, gain in nearer.items():
        if credit[term] < BEFORE_CREDIT:
            said = min(OTHER_WORDS_CREDIT, max(0.0, gain / 0.06))
            credit[term] = max(credit[term], said)
            if term in scales.asked:
                gap = max(gap, -gain)
    asked = scales.of_asked(credit)
    return replace(item, credit=credit, coverage=scales.coverage(credit), asked=asked, cosine=cosine, gap=gap,
                   score=_score(asked, item.answers, item.missing, item.behind, cosine, gap))


def _around(passage: Passage, units: Sequence[Unit], index: int) -> Surroundings:
    """Rows of a table lend one another nothing."""
    here = units[index]
    outside = [unit for unit in units if here.kind != "row" or unit.kind != "row"]
    before = [unit.text for unit in outside if unit.start < here.start]
    leads = before[-2:] if here.kind != "row" else [text for text in before[-1:] if text.startswith("Table")]
    return Surroundings(
        headings=passage.headings,
        header=" ".join(here.header),
        before=" ".join(before),
        previous=" ".join(leads),
        after=" ".join(unit.text for unit in outside if unit.start > here.start),
    )


def _near(units: Sequence[Unit], said: Sequence[set[str]], index: int) -> tuple[set[str], set[str]]:
    """Terms of the question before and after a sentence, of `said` by each: the texts of `_around` read once."""
    here = units[index]
    outside = [(unit.start, terms) for unit, terms in zip(units, said, strict=True)
               if terms and (here.kind != "row" or unit.kind != "row")]
    return (set().union(*(terms for start, terms in outside if start < here.start)),
            set().union(*(terms for start, terms in outside if start > here.start)))


def _levels(
    own: Set[str], unit: Unit, above: Set[str], before: Set[str], after: Set[str]
) -> tuple[tuple[Set[str], float], ...]:
    """Terms and what they are worth, from the sentence itself (`own`) outwards; `above` are those of the headings."""
    header = frozenset(analyze(" ".join(unit.header))) if unit.header else frozenset[str]()
    return ((own, 1.0), (header, HEADER_CREDIT), (above, HEADING_CREDIT), (before, BEFORE_CREDIT),
            (after, AFTER_CREDIT))


def _weigh(
    scales: _Scales, rank: int, unit: Unit, around: Surroundings, levels: tuple[tuple[Set[str], float], ...],
    behind: int,
) -> Evidence:
    """`levels` are worth less and less."""
    question, plain = scales.question, unit.plain
    credit = {}
    for term in scales.terms:
        credit[term] = 0.0
        for terms, share in levels:
            if term in terms:
                credit[term] = share
                break
    asked = scales.of_asked(credit)
    answers = holds_answer(question, plain, f"{plain} {around.header}")
    missing = missing_subjects(question, plain, around)
    return Evidence(
        passage=rank,
        unit=unit,
        around=around,
        credit=credit,
        coverage=scales.coverage(credit),
        own=scales.own(credit),
        asked=asked,
        answers=answers,
        missing=missing,
        behind=behind,
        score=_score(asked, answers, missing, behind),
    )


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
