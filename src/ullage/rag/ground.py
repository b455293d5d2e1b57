"""Is a generated sentence supported by what the passages say?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ullage.models.lexical import analyze, idf_table
from ullage.rag.evidence import Evidence, holds_answer
from ullage.rag.question import Question
from ullage.rag.sentences import Unit
from ullage.rag.subject import named, valued
from ullage.rag.values import key_of, names, stands, values

LEAST_SUPPORT = 0.6
"""Share of a sentence's term weight that the supporting sentence and what stands around it must have."""

LEAST_CREDIT = 0.2
"""Below this credit the evidence does not say a word of the question, in whatever words."""

QUESTION_CREDIT = 0.5
"""What a term is worth that the sentence took from the question and not from the passage."""

_NEGATIONS = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|n't|forbidden|prohibited|except|unless)\b|n['’]t\b",
    re.I,
)
_CLAUSE = re.compile(r"[,;:()–—]\s|\s(?:and|but|or|while|whereas|against|compared|than|from|to)\s")


@dataclass(frozen=True, slots=True)
class Support:
    """The evidence a sentence rests on; `score` is the share [0, 1] of the sentence found there."""

    evidence: Evidence
    score: float


def support(question: Question, sentence: str, found: Sequence[Evidence]) -> Support | None:
    """The best support of `sentence` among the evidence, or None.

    Every number, date, identifier and name must stand in one sentence of a passage, its table's head or (names) its
    headings; a value may not change its partner, as in "Brannoch 900 kW" for "Brannoch 120 kW, Ostrey 900 kW"; a
    negation may not come or go; what the question asks may not be asserted unless the evidence has it; the rest must
    share enough words.
    """
    best: Support | None = None
    for item in found:
        if not _same_facts(question, sentence, item) or not _same_partners(question, sentence, item.unit):
            continue
        if _echoes(question, sentence, item):
            continue
        if bool(_NEGATIONS.search(sentence)) != bool(_NEGATIONS.search(item.unit.text)):
            continue
        score = _share(question, sentence, item)
        if score >= LEAST_SUPPORT and (best is None or score > best.score):
            best = Support(item, score)
    return best


def states_answer(question: Question, sentence: str, best: Evidence) -> bool:
    """Does `sentence` give what the best evidence gives: one of its values of the wanted kind?"""
    if not question.wanted:
        return True
    if not holds_answer(question, sentence):
        return False
    given = {value.key for value in (*values(best.unit.plain), *names(best.unit.plain))}
    said = [value for value in (*values(sentence), *names(sentence)) if value.kind in question.wanted]
    known = question.key
    return any(value.key in given and value.key not in known for value in said)


def _same_facts(question: Question, sentence: str, item: Evidence) -> bool:
    plain = item.unit.plain
    here = key_of(f"{plain} {item.around.header}")
    asked = question.key
    for value in values(sentence):
        in_words = not any(letter.isdigit() for letter in value.key) and stands(value.key, asked, number=True)
        dated = value.kind in ("year", "date") and valued(value, plain, item.around)
        if not (in_words or dated or stands(value.key, here, number=True)):
            return False
    return all(named(name, plain, item.around) for name in names(sentence))


def _echoes(question: Question, sentence: str, item: Evidence) -> bool:
    """Does the sentence assert a word of the question that the evidence says in no words? "The sun deck holds 90." """
    said = question.asked.intersection(analyze(sentence))
    return any(item.credit[term] < LEAST_CREDIT for term in said)


def _same_partners(question: Question, sentence: str, unit: Unit) -> bool:
    """Each value keeps its partner: no word of the sentence (or name of the question) belongs to another value of the
    unit than those it states, and among several values of the wanted kind it states one that stands beside a word of
    the question."""
    stated = {value.key for value in values(sentence)}
    shared, clauses = _clauses(unit)
    if stated & _keys(unit.plain):
        asked = {term for name in question.names for term in analyze(name.text)}
        said = set(analyze(sentence)) | asked
        mine = shared.union(*(clause.terms for clause in clauses if clause.values & stated))
        others = [clause.terms for clause in clauses if clause.values and not clause.values & stated]
        if any((terms - mine) & said for terms in others):
            return False
    rivals = _wanted_keys(question, unit.plain)
    told = stated | {name.key for name in names(sentence)}
    return len(rivals) < 2 or all(_beside(question, key, rivals, clauses) for key in rivals & told)


def _wanted_keys(question: Question, text: str) -> set[str]:
    found = (*values(text), *(names(text) if "name" in question.wanted else ()))
    known = question.key
    return {value.key for value in found if value.kind in question.wanted and value.key not in known}


def _beside(question: Question, key: str, rivals: set[str], clauses: Sequence[_Clause]) -> bool:
    """Has a clause with this value a word of the question that no clause with only rival values has?"""
    near = {term for clause in clauses if key in clause.keys for term in clause.terms}
    far = {term for clause in clauses if key not in clause.keys and clause.keys & rivals for term in clause.terms}
    return bool((near - far) & question.terms.keys())


@dataclass(frozen=True, slots=True)
class _Clause:
    """A part of a sentence that may hold values of its own; `keys` are those of its values and names."""

    values: frozenset[str]
    keys: frozenset[str]
    terms: frozenset[str]


def _clauses(unit: Unit) -> tuple[frozenset[str], list[_Clause]]:
    """Terms that hold for the whole unit, and its parts: the cells of a row, the clauses of a sentence."""
    if unit.kind == "row" and len(unit.cells) == len(unit.header) > 1:
        cells = zip(unit.header, unit.cells, strict=True)
        return frozenset(analyze(unit.cells[0])), [_clause(cell, head) for head, cell in cells]
    first = min((value.start for value in values(unit.text)), default=len(unit.text))
    return frozenset(analyze(unit.text[:first])), [_clause(part) for part in _parts(unit.text)]


def _clause(text: str, head: str = "") -> _Clause:
    found = frozenset(_keys(text))
    named_here = frozenset(name.key for name in names(f"in {text}"))
    return _Clause(found, found | named_here, frozenset(analyze(f"{head} {text}")))


def _keys(text: str) -> set[str]:
    return {value.key for value in values(text)}


def _parts(text: str) -> Iterator[str]:
    """Clauses; a cut inside a value (3 March, 2025) is none."""
    spans = [(value.start, value.end) for value in values(text)]
    at = 0
    for match in _CLAUSE.finditer(text):
        if not any(start < match.end() and match.start() < end for start, end in spans):
            yield text[at : match.start()]
            at = match.end()
    yield text[at:]


def _share(question: Question, sentence: str, item: Evidence) -> float:
    around = item.around
    near = set(analyze(" ".join((item.unit.plain, around.header, *around.headings))))
    lead = set(analyze(around.previous))
    table = idf_table()
    total = found = 0.0
    for term in dict.fromkeys(analyze(sentence)):
        weight = table.idf(term)
        total += weight
        if term in near:
            found += weight
        elif term in question.terms or term in lead:
            found += QUESTION_CREDIT * weight
    return found / total if total else 0.0
