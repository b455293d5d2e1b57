"""Passages into sentences, list items and table rows, with their places in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

UnitKind = Literal["sentence", "row", "item"]

# A dot after one of these ends no sentence; "no." only before a number, as in "No. 4".
_ABBREVIATIONS = frozenset(
    """
    mr mrs ms dr prof sr jr st mt capt col gen lt sgt rev hon messrs dept est approx ca cf eg e.g ie i.e etc vs viz
    fig figs eq eqs ref refs sec secs ch chap vol vols ed eds pp par para art tab app appx ext tel inc ltd co corp llc
    plc bros jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun max min temp
    a.m p.m u.s u.k nos hrs mins secs ft lb lbs oz
    """.split()
)
_BEFORE_NUMBER = frozenset({"no", "p", "art", "fig", "sec", "ch", "vol", "page", "pp", "nr"})
_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?=\s|$)")
_OPENER = re.compile(r"(?:The|An?|It|Its|In|If|On|At|This|These|Those|When|Where|There|They|No|All|Each|For|To)\s")
"""After an initial stands a name; one of these opens a sentence."""
_WORD_BEFORE = re.compile(r"([^\W_]+(?:\.[^\W_]+)*)$")
_ITEM = re.compile(r"\s*(?:[-*•–]|\(?\d{1,3}[.)]|\(?[a-z]\))\s+(?=\S)")
_PIPE_ROW = re.compile(r"\s*\|.*\|\s*$")
_RULE_ROW = re.compile(r"\s*\|?[\s:|-]+\|?\s*$")
_CAPTION = re.compile(r"Table\s+\d[\w.]*\b")
_FEWEST_ROWS = 2
_NUMBERS = re.compile(r"(?<!\S)[£$€]?\d[\d.,:]*")
_NARROWEST = 40
"""Characters; a page's width breaks no line shorter than this."""

_WRAP_SHARE = 0.75
"""A line this long, against the longest of its passage, was broken by the page's width and not by its author."""


@dataclass(frozen=True, slots=True)
class Unit:
    """`text[start:end]` of the passage. For a row, `cells` hold its cells and `header` the table's head, aligned."""

    start: int
    end: int
    text: str
    kind: UnitKind = "sentence"
    cells: tuple[str, ...] = ()
    header: tuple[str, ...] = ()

    @property
    def plain(self) -> str:
        """The unit's own words: a row without its table's head."""
        return " | ".join(self.cells) if self.kind == "row" else self.text

    @property
    def spoken(self) -> str:
        """The unit as it is quoted: a row of pipes with the table's head before each cell, the rest as it stands."""
        if self.kind != "row" or " — " in self.text:
            return " ".join(self.text.split())
        if len(self.header) != len(self.cells):
            return " | ".join(cell for cell in self.cells if cell)
        pairs = zip(self.header, self.cells, strict=True)
        return "; ".join(f"{head}: {cell}" if head else cell for head, cell in pairs if cell)


def split(text: str, begin: int = 0) -> list[Unit]:
    """Units of `text[begin:]` in reading order; they cover every character that is not white space, head or rule.

    `name — column: value; column: value` is a table row, as the ingestor writes it. So are lines of pipes, the first
    of them (with a rule below it) the head, and the lines below a caption `Table 3:`. A line that starts with a bullet
    or a number is an item. Other lines flow together as far as they look wrapped; sentences are cut inside them.
    """
    lines = list(_lines(text, begin))
    longest = max((end - start for start, end in lines), default=0)
    units: list[Unit] = []
    at = 0
    while at < len(lines):
        line = text[slice(*lines[at])]
        if _PIPE_ROW.match(line):
            last = at
            while last < len(lines) and _PIPE_ROW.match(text[slice(*lines[last])]):
                last += 1
            units += _table(text, lines[at:last])
        elif (row := _row_sentence(*lines[at], line)) is not None:
            units.append(row)
            last = at + 1
        elif _CAPTION.match(line) and (rows := _rows_below(text, lines, at)) > _FEWEST_ROWS:
            last = at + 1 + rows
            units += _flow(text, *lines[at])
            units += _plain_rows(text, lines[at + 1 : last])
        else:
            last = at + 1
            while last < len(lines) and _continues(text, lines[last - 1], lines[last], longest):
                last += 1
            units += _flow(text, lines[at][0], lines[last - 1][1])
        at = last
    return units


def _lines(text: str, begin: int) -> Iterator[tuple[int, int]]:
    """Spans of the lines without surrounding white space; an empty span marks a blank line between paragraphs."""
    at = begin
    for line in text[begin:].splitlines(keepends=True):
        stripped = line.strip()
        start = at + (line.index(stripped) if stripped else 0)
        yield start, start + len(stripped)
        at += len(line)


def _continues(text: str, before: tuple[int, int], line: tuple[int, int], longest: int) -> bool:
    """Does `line` go on with the sentence flow of the line before it?"""
    above, here = text[slice(*before)], text[slice(*line)]
    if not above or not here or _PIPE_ROW.match(here) or _ITEM.match(here) or _row_sentence(*line, here):
        return False
    if here[0].isupper() and len(_NUMBERS.findall(above)) > 2 and above[-1] not in ",;":
        return False
    return len(above) >= max(_NARROWEST, _WRAP_SHARE * longest) or here[0].islower() or above[-1] in ",;-–"


def _table(text: str, lines: list[tuple[int, int]]) -> Iterator[Unit]:
    header: tuple[str, ...] = ()
    for index, (start, end) in enumerate(lines):
        line = text[start:end]
        if _RULE_ROW.match(line) and "-" in line:
            continue
        cells = tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        below = text[slice(*lines[index + 1])] if index + 1 < len(lines) else ""
        if index == 0 and "-" in below and _RULE_ROW.match(below):
            header = cells
            continue
        yield Unit(start, end, line, "row", cells, header)


def _row_sentence(start: int, end: int, line: str) -> Unit | None:
    """`name — column: value; value` as a row with its cells and their columns."""
    name, dash, rest = line.partition(" — ")
    cells = [cell.partition(": ") for cell in rest.split("; ")]
    if not dash or not all(cell for cell, _, _ in cells) or sum(bool(colon) for _, colon, _ in cells) * 2 < len(cells):
        return None
    columns = tuple(column if colon else "" for column, colon, _ in cells)
    values = tuple(value if colon else column for column, colon, value in cells)
    return Unit(start, end, line, "row", (name, *values), ("", *columns))


def _rows_below(text: str, lines: list[tuple[int, int]], caption: int) -> int:
    """How many lines below a caption look like the rows of a table whose ruling was lost."""
    rows = 0
    for line in lines[caption + 1 :]:
        shown = text[slice(*line)]
        if not shown or _END.search(shown) or _ITEM.match(shown) or _row_sentence(*line, shown):
            break
        if shown[0].islower():
            break
        rows += 1
    return rows


def _plain_rows(text: str, lines: list[tuple[int, int]]) -> Iterator[Unit]:
    """Rows without cell borders: the first line is the head of each."""
    head = text[slice(*lines[0])]
    for start, end in lines[1:]:
        yield Unit(start, end, text[start:end], "row", (text[start:end],), (head,))


def _flow(text: str, start: int, end: int) -> Iterator[Unit]:
    """Sentences of `text[start:end]`; the first is an item when the flow starts like one."""
    kind: UnitKind = "item" if _ITEM.match(text[start:end]) else "sentence"
    at = start
    marker = _ITEM.match(text, start, end)
    for match in _END.finditer(text, marker.end() if marker else start, end):
        if not _ends_sentence(text, match, end):
            continue
        yield from _unit(text, at, match.end(), kind)
        at, kind = match.end(), "sentence"
    yield from _unit(text, at, end, kind)


def _unit(text: str, start: int, end: int, kind: UnitKind) -> Iterator[Unit]:
    piece = text[start:end]
    stripped = piece.strip()
    if stripped:
        start += len(piece) - len(piece.lstrip())
        yield Unit(start, start + len(stripped), stripped, kind)


def _ends_sentence(text: str, match: re.Match[str], end: int) -> bool:
    """Is this full stop the end of a sentence, and not of an abbreviation, an initial or an ordinal?"""
    following = text[match.end() : end].lstrip()
    if not following or match.group()[0] in "!?…" or (len(match.group()) > 1 and match.group()[1] in "."):
        return True
    found = _WORD_BEFORE.search(text, max(0, match.start() - 24), match.start())
    word = found.group().lower() if found else ""
    if word in _BEFORE_NUMBER and following[0].isdigit():
        return False
    if word in _ABBREVIATIONS:
        return following[0].isupper() and word in ("etc", "a.m", "p.m", "inc", "ltd", "plc", "llc", "co", "corp")
    if len(word) == 1 and found is not None and found.group().isupper() and not _OPENER.match(following):
        return bool(found.start()) and text[found.start() - 1] in "°0123456789"
    return not following[0].islower()
