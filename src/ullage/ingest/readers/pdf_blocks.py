"""Lines and tables of a page in reading order, made into headings, paragraphs and tables with captions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from ullage.ingest.document import Block, Box, Headings, clean, one_line, table_block
from ullage.ingest.readers.layout import Item
from ullage.ingest.readers.pdf_page import Line
from ullage.ingest.readers.pdf_tables import CAPTION, FIGURE, Figure, Table, join_words

HEADING_SIZE = 1.1
"""A heading's characters are at least this much taller than those of the text."""

LONGEST_HEADING = 160
SURELY_LARGER = 1.25
"""Times the size of the line before, from which a line is a heading however close to a full line it stands."""

SHORT_OF = 4.0
"""Times the line's height by which a figure's caption ends before the next line does, when that is no more of it."""

_ENTRY = re.compile(r"(?:[•◦▪‣·–—*-]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+\S")


class Sizes:
    """How many characters stand in each size; what is larger than most of them is a heading."""

    def __init__(self) -> None:
        self._characters: Counter[float] = Counter()

    def add(self, items: Iterable[Item]) -> None:
        for item in items:
            if isinstance(item, Line):
                self._characters[_rounded(item.size)] += len(item.text)

    def level(self, line: Line) -> int:
        """1 for the largest size, 0 for text. A size that was not counted stands below the larger ones."""
        if not self._characters:
            return 0
        body = self._characters.most_common(1)[0][0]
        size = _rounded(line.size)
        if size < body * HEADING_SIZE:
            return 0
        return 1 + sum(size < other for other in self._characters if other >= body * HEADING_SIZE)


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def blocks_of(items: Sequence[Item], sizes: Sizes, headings: Headings, height: float) -> Iterator[Block | Figure]:
    """`height` of the page, from whose upper edge boxes count. Figures come back with their caption and headings."""
    levels = _levels([item for item in items if isinstance(item, Line)], sizes)
    groups = list(_groups(items, levels))
    captions = _captions(groups)
    for number, group in enumerate(groups):
        box = _box(group, height)
        if isinstance(group, Figure):
            yield replace(group, path=headings.path, caption=captions.get(number, ""))
            continue
        if isinstance(group, Table):
            caption = captions.get(number, "")
            block = table_block(group.cells, headings.path, caption, box)
            if block is not None:
                yield block
            elif caption:
                yield Block("paragraph", caption, path=headings.path, box=box)
            continue
        if number in captions:
            continue
        text = _text(group)
        level = levels[id(group[0])]
        if not text:
            continue
        if level and len(text) <= LONGEST_HEADING:
            yield headings.enter(level, text)
        else:
            yield Block("paragraph", text, path=headings.path, box=box)


def _levels(lines: Sequence[Line], sizes: Sizes) -> dict[int, int]:
    """Of each line by its id: 0 for text. The last line of a paragraph is text though a word in another face makes it
    taller: it follows closely on a line that fills its column."""
    levels = {id(line): sizes.level(line) for line in lines}
    for last, line in pairwise(lines):
        if levels[id(line)] and not levels[id(last)] and _follows(last, line) and line.size < SURELY_LARGER * last.size:
            column = [other.right for other in lines if not levels[id(other)] and other.left < last.right
                      and other.right > last.left]
            if last.right > max(column) - last.size:
                levels[id(line)] = 0
    return levels


Group = list[Line] | Table


def _text(lines: Sequence[Line]) -> str:
    return one_line(clean(join_words([line.text for line in lines])))


def _box(group: Group, height: float) -> Box:
    lines: Sequence[Item] = [group] if isinstance(group, Table) else group
    edges = (
        min(line.left for line in lines),
        height - max(line.top for line in lines),
        max(line.right for line in lines),
        height - min(line.bottom for line in lines),
    )
    return (round(edges[0], 1), round(edges[1], 1), round(edges[2], 1), round(edges[3], 1))


def _captions(groups: Sequence[Group]) -> dict[int, str]:
    """The caption of each table or figure by its place, and by the caption's own, where it is no text any more.

    It stands above its table or, where nothing above is one, below it; with a figure it is the other way round.
    """
    found: dict[int, str] = {}
    for number, group in enumerate(groups):
        if isinstance(group, Table):
            figure = isinstance(group, Figure)
            for place in (number + 1, number - 1) if figure else (number - 1, number + 1):
                text = _caption_text(groups, place, FIGURE if figure else CAPTION)
                if text and place not in found:
                    found[place] = found[number] = text
                    break
    return found


def _caption_text(groups: Sequence[Group], place: int, form: re.Pattern[str]) -> str:
    group = groups[place] if 0 <= place < len(groups) else None
    text = "" if group is None or isinstance(group, Table) else _text(group)
    return text if len(text) <= 2 * LONGEST_HEADING and form.match(text) else ""


def _groups(items: Sequence[Item], levels: Mapping[int, int]) -> Iterator[Group]:
    """Lines that make one paragraph or heading; tables as they are."""
    lines: list[Line] = []
    for item in items:
        if isinstance(item, Table):
            if lines:
                yield lines
            lines = []
            yield item
        elif lines and _goes_on(lines[-1], item, levels):
            lines.append(item)
        else:
            if lines:
                yield lines
            lines = [item]
    if lines:
        yield lines


def _goes_on(last: Line, line: Line, levels: Mapping[int, int]) -> bool:
    """Whether a line continues the paragraph of the one before."""
    if levels[id(last)] != levels[id(line)] or not _follows(last, line):
        return False
    if FIGURE.match(line.text) or (FIGURE.match(last.text) and last.right < line.right - SHORT_OF * line.size):
        return False
    return not _ENTRY.match(line.text) and not CAPTION.match(last.text) and not CAPTION.match(line.text)


def _follows(last: Line, line: Line) -> bool:
    """Whether it stands as close below the other as lines of one paragraph do."""
    return -1.5 * line.size < last.bottom - line.top < 0.45 * line.size
