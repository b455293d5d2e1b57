"""Facts that can be compared letter by letter: numbers, money, durations, dates, identifiers, names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

ValueKind = Literal[
    "money", "percent", "duration", "time", "date", "year", "quantity", "number", "phone", "identifier", "name"
]

NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
} | {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
_TENS = tuple(word for word, value in NUMBER_WORDS.items() if value >= 20)
_ONES = tuple(word for word, value in NUMBER_WORDS.items() if 0 < value < 10)
_SINGLE = sorted((word for word, value in NUMBER_WORDS.items() if value < 20), key=len, reverse=True)
NUMBER_WORDS |= {f"{tens}-{ones}": NUMBER_WORDS[tens] + NUMBER_WORDS[ones] for tens in _TENS for ones in _ONES}

TEXTS_KEPT = 4096
LONGEST_KEPT = 500
"""Characters. Sentences are asked about more than once for a question, and again for the next; a few MiB at most."""

_DIGITS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:[.,]\d+)?"
# Longer words before their beginnings. One alternative for each word made four patterns two thirds of the time.
_WORDED = rf"(?:{'|'.join(_TENS)})(?:-(?:{'|'.join(_ONES)}))?|{'|'.join(_SINGLE)}"
_COUNT = rf"(?:{_DIGITS}|(?:{_WORDED}|half an?|an?|several|a few)(?![^\W\d_]))"
_SPAN = r"(?:milli)?(?:second|minute|hour|day|night|week|fortnight|month|year|decade)s?|ms|secs?|mins?|hrs?|s|h"
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|"
    r"nov(?:ember)?|dec(?:ember)?)"
)
_WEEKDAY = r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?"
_SCALE = r"(?:\s?(?:thousand|million|billion|bn|k|m)\b)?"
_UNIT = (
    r"(?:[kMGT]?Wh?|[kM]?VA|[km]?V|m?A|Ah|[kMG]?Hz|[kMGT]i?B|[kMG]bit/s|[kMG]bps|[kcmµ]?m|m[²³23]|[km]?g|t|[mcd]?l|"
    r"m?bar|[kM]?Pa|psi|ppm|dB|rpm|knots?|°\s?[CF]|K|degrees?|(?:square|cubic)\s[a-z]+|metres?|meters?|centimetres?|"
    r"millimetres?|kilomet(?:re|er)s?|miles?|feet|foot|inches|inch|lit(?:re|er)s?|tonnes?|tons?|kilograms?|kilos?|"
    r"grams?|watts?|kilowatts?|megawatts?|volts?|amps?|hertz|points?|parts|pages?|characters?|cycles)"
)

_COUNTING = frozenset((*_TENS, *_SINGLE))
_MONTHS = frozenset(
    "january february march april may june july august september october november december "
    "jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
_PER = ("hour", "day", "night", "week", "month", "year")
_SPANS = frozenset(
    f"{part}{span}{plural}" for part in ("", "milli") for plural in ("", "s")
    for span in ("second", "minute", "fortnight", "decade", *_PER)
) | frozenset("ms sec secs min mins hr hrs s h".split())
_PERCENT = frozenset(("%", "cent", "percent", *(f"{word}percent" for word in (*_TENS, *_ONES, *_SINGLE))))
_DAYS = frozenset(f"{day}day{plural}" for plural in ("", "s")
                  for day in ("mon", "tues", "wednes", "thurs", "fri", "satur", "sun"))
_OFTEN = frozenset("hourly daily nightly weekly fortnightly monthly quarterly yearly annually continuously".split())
_HOURS = frozenset("noon midnight sunrise sunset dawn dusk".split())
_CALLED = frozenset("extension ext telephone phone call dial".split())
_NEEDS_DIGIT: frozenset[str] = frozenset()

# Every match holds one of the words (or a digit, where there are none): most texts have none, and are not searched.
_PATTERNS: tuple[tuple[ValueKind, re.Pattern[str], frozenset[str]], ...] = tuple(
    (kind, re.compile(pattern, flags), needs)  # type: ignore[misc]
    for kind, pattern, flags, needs in (
        ("money", rf"[£$€]\s?(?:{_DIGITS}){_SCALE}", 0, _NEEDS_DIGIT),
        ("money", rf"(?<![\w.,])(?:{_DIGITS}){_SCALE}\s?(?:pounds?|euros?|dollars?|pence|cents?|p|EUR|USD|GBP)\b", 0,
         _NEEDS_DIGIT),
        ("percent", rf"(?<![\w.,])(?:{_DIGITS}|{_WORDED})\s?(?:%|per\s?cent\b)", re.I, _PERCENT),
        ("date", rf"\b\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}\b(?:,?\s+\d{{4}})?", re.I, _MONTHS),
        ("date", rf"\b{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s+\d{{4}})?", re.I, _MONTHS),
        ("date", rf"\b{_MONTH}\s+\d{{4}}\b", re.I, _MONTHS),
        ("date", r"\b\d{4}-\d{2}-\d{2}\b", 0, _NEEDS_DIGIT),
        ("date", r"\b(?:January|February|March|April|June|July|August|September|October|November|December)\b", 0,
         _MONTHS),
        ("date", rf"\b{_WEEKDAY}\b", re.I, _DAYS),
        ("time", r"\b\d{1,2}:\d{2}\b", 0, _NEEDS_DIGIT),
        ("time", r"\b(?:noon|midnight|sunrise|sunset|dawn|dusk)\b", re.I, _HOURS),
        ("time", r"\b\d{1,2}\s?[ap]\.?m\b", re.I, _NEEDS_DIGIT),
        ("phone", r"\b(?:extension|ext\.?|telephone|phone|call|dial)\s+\+?\d[\d -]{2,}", re.I, _CALLED),
        ("phone", r"(?<![\w.,])\+?\d{2,5}(?:[ -]\d{2,6}){2,}", 0, _NEEDS_DIGIT),
        ("duration", rf"(?<![\w.,]){_COUNT}[\s-]+(?:(?:working|full|calendar)\s)?(?:{_SPAN})(?![\w/])", re.I, _SPANS),
        ("duration", r"\b(?:every|each|per|a|once an?|twice an?)\s(?:second\s|other\s)?"
         r"(?:hour|day|night|week|month|year)\b", re.I, frozenset(_PER)),
        ("duration", r"\b(?:hourly|daily|nightly|weekly|fortnightly|monthly|quarterly|yearly|annually|continuously)\b",
         re.I, _OFTEN),
        ("quantity", rf"(?<![\w.,])(?:{_DIGITS})\s?{_UNIT}(?![\w])", 0, _NEEDS_DIGIT),
        ("quantity", rf"\b(?:{_WORDED})\s{_UNIT}(?![\w])", re.I, _COUNTING),
        ("identifier", r"\b(?=[A-Z0-9/-]*\d)(?=[A-Z0-9/-]*[A-Z])[A-Z0-9]+(?:[-/][A-Z0-9]+)*\b", 0, _NEEDS_DIGIT),
        ("identifier", r"\b[A-Z]{2,}(?:-[A-Z0-9]+)+\b", 0, frozenset("-")),
        ("year", r"(?<![\w.,:£$€-])(?:19|20)\d{2}(?![\w:]|[.,]\d)", 0, _NEEDS_DIGIT),
        ("number", rf"(?<![\w.,])(?:{_DIGITS})(?![\w])", 0, _NEEDS_DIGIT),
        ("number", rf"\b(?:{_WORDED}|none|once|twice)\b", re.I, _COUNTING | {"none", "once", "twice"}),
    )
)
_TELLING = frozenset[str]().union(*(needs for _, _, needs in _PATTERNS))
_PIECES = re.compile(r"[a-z]+|[%-]")
_ANY_DIGIT = re.compile(r"\d")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_BETWEEN_WORDS = re.compile(r"[^\w£$€%°.,/:+-]+")
_LETTERS = re.compile(r"\b[a-z]+(?:-[a-z]+)?\b")

_NAME_WORD = r"[A-Z][^\W\d_]*+(?!\d)(?:['’-][^\W\d_]+)*\.?"
_NAME = re.compile(rf"(?<![^\W_]){_NAME_WORD}(?:\s+(?:&\s+|of\s+|the\s+|de\s+|van\s+|von\s+)?{_NAME_WORD})*")
_NOT_NAMES = re.compile(rf"(?:{_MONTH}|{_WEEKDAY}|[A-Z]|I|The|An?|It|No|Yes)\.?", re.I)


@dataclass(frozen=True, slots=True)
class Value:
    """`text[start:end]`; `key` is the same for two ways to write the same thing."""

    kind: ValueKind
    start: int
    end: int
    text: str
    key: str


def values(text: str) -> list[Value]:
    """Values of a text in reading order; spans of one kind do not overlap, a longer kind wins over a shorter."""
    return list(_values_of(text) if len(text) <= LONGEST_KEPT else _found_in(text))


@lru_cache(maxsize=TEXTS_KEPT)
def _values_of(text: str) -> tuple[Value, ...]:
    return tuple(_found_in(text))


def _found_in(text: str) -> list[Value]:
    digits = _ANY_DIGIT.search(text) is not None
    # Letters that are no ASCII may be taken for others where case is ignored, as ſ for s.
    telling = _TELLING.intersection(_PIECES.findall(text.lower())) if text.isascii() else _TELLING
    if not digits and not telling:
        return []
    taken: list[tuple[int, int]] = []
    found: list[Value] = []
    for kind, pattern, needs in _PATTERNS:
        if not digits if needs is _NEEDS_DIGIT else needs.isdisjoint(telling):
            continue
        for match in pattern.finditer(text):
            span = match.span()
            if any(span[0] < end and start < span[1] for start, end in taken):
                continue
            taken.append(span)
            found.append(Value(kind, *span, match.group(), key_of(match.group())))
    return sorted(found, key=lambda value: value.start)


def stands(key: str, text: str, *, number: bool = False) -> bool:
    """Is `key` in `text` as whole words? A `number` is no part of a longer one either: 4.2 does not stand in 4.25, in
    14.2 or in 4.2.1."""
    at = text.find(key)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(key) : at + len(key) + 2]
        inside = _in_word(before) or _in_word(after[:1])
        if number:
            inside = inside or before in (".", ",") or (after[:1] in (".", ",") and after[1:].isdecimal())
        if not inside:
            return True
        at = text.find(key, at + 1)
    return False


def _in_word(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def names(text: str) -> list[Value]:
    """Runs of capitalised words. One word that opens a sentence is no name; a run there loses an opening stop word."""
    identifiers = [value for value in values(text) if value.kind in ("identifier", "quantity")]
    found = []
    for match in _NAME.finditer(text):
        start, name = match.start(), re.sub(r"(?:['’]s?|\.)$", "", match.group())
        if _opens_sentence(text, start):
            first, _, rest = name.partition(" ")
            if not rest:
                continue
            if first.lower() in _OPENERS:
                start, name = start + len(first) + 1, rest
        inside = any(value.start <= start < value.end for value in identifiers)
        if len(name) > 1 and not inside and not _NOT_NAMES.fullmatch(name):
            found.append(Value("name", start, start + len(name), name, name.lower()))
    return found


def key_of(text: str) -> str:
    """One spelling of a value: no thousands commas, numbers as digits, one space, lower case."""
    return _key_of(text) if len(text) <= LONGEST_KEPT else _spelled(text)


@lru_cache(maxsize=TEXTS_KEPT)
def _key_of(text: str) -> str:
    return _spelled(text)


def _spelled(text: str) -> str:
    plain = _THOUSANDS.sub("", text.lower()) if "," in text else text.lower()
    plain = _BETWEEN_WORDS.sub(" ", plain)
    if not _COUNTING.isdisjoint(_PIECES.findall(plain)):
        plain = _LETTERS.sub(lambda word: str(NUMBER_WORDS.get(word.group(), word.group())), plain)
    return " ".join(plain.strip(" .,-").split())


_OPENERS = frozenset(
    """
    what which who whom whose when where why how is are was were do does did can could may might must shall should
    will would has have had if in on at for from to of by with during after before since until under over the a an
    and but or not no all each every any some this that these those it its he she they we you i as there please tell
    give list name describe explain find show
    """.split()
)


def _opens_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip()
    return not before or before[-1] in ".!?:;|•*\"“(" or text[:start].endswith("\n")
