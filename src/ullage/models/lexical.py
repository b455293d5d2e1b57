"""Words of a text, and how rare each of them is in English.

`analyze` turns text into search terms, the same way for stored passages, for queries and for ranking.
`idf_table()` says how rare a term is, counted over free documentation (`scripts/make_idf_table.py`): a request
brings too few passages to count rarity among them.
"""

from __future__ import annotations

import gzip
import math
import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import Stemmer

IDF_FILE = "idf-en.tsv.gz"
LONGEST_TERM = 64
LEAST_NUMBER = 3
"""Letters and digits of a number that is asked for by the letter; shorter ones stand everywhere."""

CACHED_WORDS = 200_000

# A word; a dot stays inside a number (4.2, v1.15, 10.0.0.1), so does a comma that separates thousands.
_PART = r"[^\W_]+(?:(?:(?<=\d)\.(?=\d)|(?<=\d),(?=\d{3}(?!\d))|['’](?=[^\W\d_]))[^\W_]+)*"
_PARTS = re.compile(_PART)
_WORDS = re.compile(rf"{_PART}(?:[-/_]{_PART})*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")

# Function words of English: articles, pronouns, auxiliaries, prepositions, conjunctions, contractions.
STOP_WORDS = frozenset(
    """
    a about above after again against all also although am an and any are aren't as at be because been before
    being below between both but by can can't cannot could couldn't did didn't do does doesn't doing don't down
    during each either else etc few for from further had hadn't has hasn't have haven't having he he'd he'll he's
    her here here's hers herself him himself his how how's however i i'd i'll i'm i've if in into is isn't it it's
    its itself just let's many may me might more most much must mustn't my myself neither no nor not of off often
    on once only onto or other others ought our ours ourselves out over own per rather same shall shan't she she'd
    she'll she's should shouldn't since so some such than that that's the their theirs them themselves then there
    there's therefore these they they'd they'll they're they've this those though through thus to too under until
    up upon us very via was wasn't we we'd we'll we're we've were weren't what what's when when's where where's
    whether which while who who's whom whose why why's will with within without won't would wouldn't yet you you'd
    you'll you're you've your yours yourself yourselves
    """.split()
)

_local = threading.local()
_terms_by_word: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True, slots=True)
class Word:
    """One word part of a text: its characters are `text[start:end]`; `term` is None for a stop word."""

    start: int
    end: int
    term: str | None


def analyze(text: str) -> list[str]:
    """Search terms of `text` in reading order, repeats kept: lower case, no stop words, English Snowball stems.

    Text is first brought to Unicode NFKC (ligatures, full-width forms) and soft hyphens are dropped. Then:

    - a word is a run of letters and digits, with an apostrophe inside if one is there (o'brien);
    - numbers keep their inner dots, and thousands lose their commas: "4.2" -> 4.2, "12,500" -> 12500;
    - words joined by - or / are separate terms: "boundary-layer" -> boundari layer;
    - joined words with a digit or an underscore are identifiers; the whole comes first, then its parts of at least
      two characters: "P-101" -> p-101 101, "max_tokens" -> max_tokens max token, "2024-05-03" -> itself 2024 05 03.

    A run of letters in a script that writes no spaces is one term. Thread-safe.
    """
    terms: list[str] = []
    known = _terms_by_word.get
    for word in _WORDS.findall(_plain(text).lower()):
        found = known(word)
        terms += _remember(word) if found is None else found
    return terms


def numbers(terms: Iterable[str]) -> frozenset[str]:
    """Those of the terms that name a thing by the letter: numbers and identifiers, which hold a digit."""
    return frozenset(term for term in terms if len(term) >= LEAST_NUMBER and any(map(str.isdigit, term)))


def words(text: str) -> Iterator[Word]:
    """Word parts of `text` with their places in it, in code points as tokenizers count them.

    Differs from `analyze` in that joined words are given as parts only, so that no two of them overlap.
    """
    for match in _PARTS.finditer(text):
        yield Word(match.start(), match.end(), _term(_plain(match.group()).lower()))


def _plain(text: str) -> str:
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text).replace("\u00ad", "").replace("’", "'")


def _remember(word: str) -> tuple[str, ...]:
    if len(_terms_by_word) >= CACHED_WORDS:
        _terms_by_word.clear()
    terms = tuple(_terms_of(word))
    if len(word) <= LONGEST_TERM:
        _terms_by_word[word] = terms
    return terms


def _terms_of(word: str) -> Iterator[str]:
    """Terms of one lower-case word of `_WORDS`."""
    parts = _PARTS.findall(word)
    if len(parts) == 1:
        parts = [word]
        identifier = False
    else:
        identifier = "_" in word or any(letter.isdigit() for letter in word)
    if identifier and len(word) <= LONGEST_TERM:
        yield _THOUSANDS.sub("", word)
    for part in parts:
        term = _term(part)
        if term is not None and not (identifier and len(part) < 2):
            yield term


def _term(part: str) -> str | None:
    """Stem of one lower-case word part; None for a stop word."""
    if part in STOP_WORDS:
        return None
    if part[0].isdigit():
        return _THOUSANDS.sub("", part)[:LONGEST_TERM]
    stem: str = _stemmer().stemWord(part[:LONGEST_TERM])
    return stem or part


def _stemmer() -> Stemmer.Stemmer:
    """This thread's stemmer: PyStemmer's objects are not thread-safe."""
    stemmer = getattr(_local, "stemmer", None)
    if stemmer is None:
        stemmer = _local.stemmer = Stemmer.Stemmer("english")
        stemmer.maxCacheSize = 0
    return stemmer


class IdfTable:
    """Inverse document frequencies, ln(1 + (N - df + 0.5) / (df + 0.5)) over N passages (the form BM25 uses).

    `document_frequencies` maps a term of `analyze` to the number of passages that hold it.
    A term that is not in the table gets `unknown_idf`, that of df = 0: the largest value there is.
    """

    def __init__(self, document_frequencies: dict[str, int], passages: int) -> None:
        self.passages = passages
        self.unknown_idf = self._value(0)
        self._idf = {term: self._value(df) for term, df in document_frequencies.items()}

    def _value(self, df: int) -> float:
        return math.log1p((self.passages - df + 0.5) / (df + 0.5))

    def idf(self, term: str) -> float:
        return self._idf.get(term, self.unknown_idf)

    def __contains__(self, term: str) -> bool:
        return term in self._idf

    def __len__(self) -> int:
        return len(self._idf)


def read_idf_table(compressed: bytes) -> IdfTable:
    """Table from the bytes of a gzip file of lines `df<TAB>terms, space separated`.

    Lines with # are comments; one of them is `# passages: N`. Raises ValueError if it is missing.
    """
    passages: int | None = None
    frequencies: dict[str, int] = {}
    for line in gzip.decompress(compressed).decode("utf-8").splitlines():
        if line.startswith("# passages: "):
            passages = int(line.removeprefix("# passages: "))
        elif not line.startswith("#"):
            df, terms = line.split("\t")
            frequencies.update(dict.fromkeys(terms.split(" "), int(df)))
    if passages is None:
        raise ValueError("the idf table does not say over how many passages it was counted")
    return IdfTable(frequencies, passages)


@lru_cache(maxsize=1)
def idf_table() -> IdfTable:
    """The table that comes with the package, read on first use."""
    return read_idf_table(resources.files("ullage.models").joinpath("data", IDF_FILE).read_bytes())
