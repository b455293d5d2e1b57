"""What a question asks for: its terms, the names and values it is about, and the kind of answer it expects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from ullage.models.lexical import analyze, idf_table, words
from ullage.rag.values import Value, ValueKind, key_of, names, values

_MONEY: frozenset[ValueKind] = frozenset({"money"})
_SIZE: frozenset[ValueKind] = frozenset({"quantity", "number", "percent"})
_AMOUNT: frozenset[ValueKind] = frozenset({"quantity", "number", "percent", "money", "duration"})
_WHEN: frozenset[ValueKind] = frozenset({"date", "time", "year", "duration"})
_OFTEN: frozenset[ValueKind] = frozenset({"duration", "number", "date"})

_COST = (
    r"(?:cost|price|pay|paid|charged?|fee|fare|tariff|salary|wage|earn|spen[dt]|rent|hire|borrow|fine|expensive|budget|"
    r"allowance|premium|refund|lend|loan|grant|worth|supplement|deposit|toll|penalty|sum)s?"
)
_ASKS: tuple[tuple[str, Set[ValueKind]], ...] = (
    (r"\bhow (?:many|much)\s+(?:\w+\s+)?(?:hours?|minutes?|days?|weeks?|months?|years?|seconds?|time)\b",
     {"duration", "number"}),
    (r"(?<!\bby )\b(?:extension|(?:tele)?phone)(?:\s+number)?\b", {"phone", "number"}),
    (r"\bhow many\b", {"number", "quantity", "duration"}),
    (rf"\bhow (?:much|expensive)\b.*\b{_COST}\b", _MONEY),
    (r"\bhow much\b", _AMOUNT),
    (r"\bhow often\b", _OFTEN),
    (r"(?<!for )\bhow long (?:is|are|was|were)\b", {"duration", "quantity"}),
    (r"\b(?:how long|how soon|how quickly)\b", {"duration", "date", "time"}),
    (r"\bhow old\b", {"duration", "number", "year"}),
    (r"\bhow (?:far|high|deep|wide|big|large|small|heavy|hot|cold|warm|fast|powerful|strong|tall|thick|loud|full)\b",
     _SIZE),
    (r"\b(?:what|which) (?:year)\b", {"year", "date"}),
    (r"\b(?:what|which) (?:date|day|month)\b|(?:^|,\s|\band\s)when\b|"
     r"\bby what (?:date|time)\b|\b(?:since|until) when\b", _WHEN),
    (r"(?<!after )\bwhat time\b|\bat what hour\b", {"time"}),
    (r"(?:^|,\s|\b(?:and|to|by|from|with|for|of)\s)who(?:m|se)?\b|\bwhat is the name of\b|\bname of the\b", {"name"}),
    (r"\b(?:what|which) (?:\w+ )?(?:company|firm|manufacturer|supplier|vendor|maker|contractor|carrier|bank|person|"
     r"ship|vessel|town|city|port|country|island|school|university|brand)\b", {"name"}),
    (r"\b(?:what|which|how much)\b(?:\W+\w+){0,6}?\W+(?:discount|reduction|surcharge|interest)\b",
     {"percent", "money"}),
    (rf"\b(?:what|which)\b(?:\W+\w+){{0,6}}?\W+{_COST}\b", _MONEY),
    (r"\b(?:what|which)\b(?:\W+\w+){0,6}?\W+(?:percentage|proportion|share|per cent)\b", {"percent", "number"}),
    (r"\b(?:what|which)\b(?:\W+\w+){0,6}?\W+(?:temperature|pressure|speed|height|weight|capacity|limit|power|voltage|"
     r"current|length|width|depth|distance|volume|size|range|rate|level|threshold|dose|thickness|torque|mark|"
     r"maximum|minimum|most|least|number|total|point)\b", _AMOUNT),
    (r"\b(?:what|which)\b(?:\W+\w+){0,6}?\W+amount\b", _AMOUNT),
    (r"\b(?:what|which)\b(?:\W+\w+){0,6}?\W+(?:code|identifier|part number|serial)\b", {"identifier", "number"}),
    (r"\b(?:what|which)\b(?:\W+\w+){0,6}?\W+(?:interval|period|duration|deadline|notice|time)\b",
     {"duration", "date", "time"}),
    (r"^\W*where\b", {"name"}),
)
_KINDS = tuple((re.compile(pattern, re.I), frozenset(kinds)) for pattern, kinds in _ASKS)

# Words that say which kind of answer is wanted; the value itself answers for them.
KIND_WORDS = frozenset(
    analyze(
        """
        much long often cost price pay paid charge fee name number amount year date day time hour minute month week
        old big large high deep far heavy hot fast powerful maximum minimum total percentage value size kind type
        exactly need allowed take last called according document documents handbook company
        """
    )
)
# A word that asks for one dimension, and the units a value of it is written in.
_DIMENSIONS: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (re.compile(asks, re.I), re.compile(unit))
    for asks, unit in (
        (r"\b(?:temperature|hot|cold|warm|boiling|melting|freezing|flash) ?(?:point)?\b", r"°|degrees?|\d\s?[CFK]\b"),
        (r"\b(?:wind|travel|sailing|maximum|top)? ?(?:speed|fast)\b", r"knots?|km/h|mph|m/s|bit/s|rpm"),
        (r"\b(?:weigh|weighs|weight|heavy|mass)\b", r"kg|tonnes?|tons?|grams?|kilos?|\d\s?[gt]\b"),
        (r"\b(?:powerful|(?:maximum|rated|output|engine|motor) power|horsepower)\b", r"[kM]W\b|watts?|\bhp\b"),
        (r"\bpressure\b", r"bar|[kM]?Pa\b|psi"),
        (r"\bvoltage\b", r"\dV\b|k?V\b|volts?"),
        (r"\b(?:how far|distance)\b", r"\bk?m\b|miles?|metres?|kilomet|feet|nautical"),
        (r"\bhow old\b|\bage\b", r"(?i)\byears?\b|\baged?\b|\bborn\b|\bbuilt\b|\bsince\b|\b(?:19|20)\d\d\b"),
        (r"\bnoise\b|\bloud\b", r"dB"),
        (r"\b(?:percentage|per cent|proportion|share)\b", r"%|per\s?cent"),
    )
)

_AND_ASKS = re.compile(r"\band\s+(?=(?:for |at |by |in )?(?:how|what|when|who|where|which)\b)", re.I)
_DIGIT = re.compile(r"\d")
KIND_WORD_WEIGHT = 0.35

QUESTIONS_KEPT = 256
"""Each is asked about twice or three times while it is answered."""

LONGEST_IN_PASSING = 2_000
"""Characters; a longer text is no question that is read in passing, or taken apart word by word."""

MOST_TERMS_APART = 31
"""With the whole question one call of the embedder. Of more words each says little."""


@dataclass(frozen=True, slots=True)
class Question:
    """`key` is the text as values are compared, `terms` maps each search term to its weight. `wanted` is empty when any
    sentence may answer; `unit` is how the wanted value is written when only one dimension fits.
    `asked` are the terms that say what is asked of the things named: neither names nor values nor a kind of answer.

    `names` and `values` are what the question is about: an answer that does not speak of them is about another thing.
    """

    text: str
    key: str
    terms: dict[str, float]
    wanted: frozenset[ValueKind]
    names: tuple[Value, ...]
    values: tuple[Value, ...]
    asked: frozenset[str]
    unit: re.Pattern[str] | None = None


def without_each_term(text: str) -> Mapping[str, str]:
    """A question with one term's words left out, by term: how much nearer a sentence is to the whole question than to
    these says whether it speaks of the term, in whatever words. Nothing for a text that is no question any more."""
    return _without_each_term(text) if len(text) <= LONGEST_IN_PASSING else MappingProxyType({})


@lru_cache(maxsize=QUESTIONS_KEPT)
def _without_each_term(text: str) -> Mapping[str, str]:
    terms = dict.fromkeys(analyze(text))
    if len(terms) > MOST_TERMS_APART:
        return MappingProxyType({})
    spans: dict[str | None, list[tuple[int, int]]] = {}
    for word in words(text):
        spans.setdefault(word.term, []).append((word.start, word.end))
    shortened = {}
    for term in terms:
        rest = text
        for start, end in reversed(spans.get(term, [])):
            rest = rest[:start] + rest[end:]
        if term in spans and any(letter.isalnum() for letter in rest):
            shortened[term] = rest
    return MappingProxyType(shortened)


def read_question(text: str, passages: Sequence[str] = ()) -> Question:
    """`passages` tell which of the question's words are names when the asker wrote them in lower case."""
    small = not any(letter.isupper() for letter in text) and not names(text)
    seen = passages if small else ()
    return _read(text, seen) if seen or len(text) > LONGEST_IN_PASSING else _read_alone(text)


def _read(text: str, passages: Sequence[str]) -> Question:
    weights = {}
    table = idf_table()
    for term in analyze(text):
        share = KIND_WORD_WEIGHT if term in KIND_WORDS else 1.0
        weights[term] = share * min(table.idf(term), table.idf("zzqx") * 0.8)
    about = (*_names(text, passages), *_about_values(text))
    known = {term for value in about for term in analyze(value.text)} | KIND_WORDS
    return Question(
        text=text,
        key=key_of(text),
        terms=weights,
        wanted=_wanted(text),
        names=tuple(value for value in about if value.kind == "name"),
        values=tuple(value for value in about if value.kind != "name"),
        asked=frozenset(weights) - known,
        unit=_unit(text),
    )


@lru_cache(maxsize=QUESTIONS_KEPT)
def _read_alone(text: str) -> Question:
    return _read(text, ())


def _unit(text: str) -> re.Pattern[str] | None:
    """How a value of the dimension named first is written; a double question asks for two."""
    if _AND_ASKS.search(text):
        return None
    named = [(match.start(), at) for at, (asks, _) in enumerate(_DIMENSIONS) if (match := asks.search(text))]
    return _DIMENSIONS[min(named)[1]][1] if named else None


def _wanted(text: str) -> frozenset[ValueKind]:
    """The kinds of value that answer; those of both halves of a double question."""
    found: frozenset[ValueKind] = frozenset()
    for part in _AND_ASKS.split(text):
        found |= next((kinds for pattern, kinds in _KINDS if pattern.search(part)), frozenset())
    return found


def _about_values(text: str) -> list[Value]:
    return [value for value in values(text) if value.kind == "date" or _DIGIT.search(value.text)]


def _names(text: str, passages: Sequence[str]) -> list[Value]:
    """Those of the text itself, and those that the passages have in capitals."""
    found = names(text)
    seen = Counter(name.key for passage in passages for name in names(passage))
    lowered = text.lower()
    for known, times in sorted(seen.items(), key=lambda item: -len(item[0])):
        match = re.search(rf"\b{re.escape(known)}\b", lowered)
        if match is None or any(match.start() < other.end and other.start < match.end() for other in found):
            continue
        if " " in known or (times > 1 and _always_capital(known, passages)):
            found.append(Value("name", *match.span(), match.group(), known))
    return found


def _always_capital(word: str, passages: Sequence[str]) -> bool:
    """A single word is a name when no passage writes it small."""
    pattern = re.compile(rf"\b{re.escape(word)}\b")
    return not any(pattern.search(passage) for passage in passages)
