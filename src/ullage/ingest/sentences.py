"""Where a sentence ends, in most languages that end it with a full stop."""

from __future__ import annotations

import re

_END = re.compile(r"""[.!?…][)\]"'”’»]*\s+(?=["'“‘«(\[]*[^\s\d\W a-zß-öø-ÿ]|["'“‘«(\[]*\d)|[。！？]|\n""")
_ABBREVIATIONS = frozenset(
    "approx cf co corp dr e.g eq etc ext fig figs i.e inc jr ltd max min mr mrs ms mt no nos p pp prof ref sec sr st "
    "tab tel vol vs bzw ca d.h dipl evtl ggf inkl nr s str u.a usw vgl z.b".split()
)


def sentences(text: str) -> list[str]:
    """The sentences of a text in order, without the blanks between them. A line break ends one too."""
    found = []
    begin = 0
    for match in _END.finditer(text):
        if _abbreviated(text, match.start()):
            continue
        found.append(text[begin : match.end()].strip())
        begin = match.end()
    found.append(text[begin:].strip())
    return [sentence for sentence in found if sentence]


def _abbreviated(text: str, stop: int) -> bool:
    """Whether the full stop at `stop` belongs to an abbreviation, an initial or a number such as `3.`."""
    if text[stop] != ".":
        return False
    words = text[max(0, stop - 12) : stop].split()
    if not words:
        return False
    word = words[-1].lstrip("(\"'[").lower()
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha() and word != "i")
