"""Whether a text layer says what a person reads on the page."""

from __future__ import annotations

import re
import unicodedata

LEAST_LETTERS = 200
"""Below this nothing is concluded from how letters are distributed."""

MOST_UNMAPPED = 0.1
MOST_NONSENSE = 0.1
LEAST_COMMON = 0.35
"""Share of the eight most common letters. Languages written in Latin letters have 0.5 to 0.7, a layer whose code is
shifted by some places 0.15 to 0.3."""

_COMMON = frozenset("aeinorst")
_WORD = re.compile(r"[^\W\d_]{3,}")
_NONSENSE = {"Co", "Cn", "Cc", "Cs"}


def is_broken(text: str, unmapped: float) -> bool:
    """`text` with blanks between words; `unmapped` is the share of characters for which the file names no Unicode."""
    if not text:
        return False
    if unmapped > MOST_UNMAPPED and len(text) > 20:
        return True
    nonsense = sum(letter == "\ufffd" or unicodedata.category(letter) in _NONSENSE for letter in text)
    if nonsense > MOST_NONSENSE * len(text):
        return True
    letters = unicodedata.normalize("NFD", "".join(_WORD.findall(text)).lower())
    latin = [letter for letter in letters if letter < "\u0250"]
    if len(latin) < LEAST_LETTERS or len(latin) < 0.6 * len(letters):
        return False
    return sum(letter in _COMMON for letter in latin) < LEAST_COMMON * len(latin)
