"""Pages and pictures that only a vision service can read: what it sees, and what becomes of it in a document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Protocol

from ullage.ingest.document import Block, Box, Headings, Page, Picture, one_line, table_block
from ullage.ingest.readers.layout import in_reading_order
from ullage.ingest.readers.pdf_blocks import Sizes, blocks_of
from ullage.ingest.readers.pdf_page import Line, Word
from ullage.ingest.readers.pdf_tables import Figure, Table, take_aligned

LEAST_CONFIDENCE = 0.5
LEADING = 1.2
"""Times the height of a line from one to the next, as most text is set."""

SURELY_LARGER = 1.25
"""Times the height of most lines, from which a line is one of larger letters."""

WIDEST_BLANK = 0.5
"""Times the line's height: what is seen as one line has no columns in it."""


@dataclass(frozen=True, slots=True)
class SeenLine:
    """A line of text. Boxes are left, top, right, bottom as shares (0 to 1) of the picture's width and height."""

    text: str
    box: Box
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class SeenTable:
    """`cells` by row, header first."""

    cells: tuple[tuple[str, ...], ...]
    box: Box


@dataclass(frozen=True, slots=True)
class SeenChart:
    """Its title, axis names, labels and legend, as far as they could be told apart, one a line."""

    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class Seen:
    """`lines` in no particular order; those inside a table or chart may be among them."""

    lines: tuple[SeenLine, ...] = ()
    tables: tuple[SeenTable, ...] = ()
    charts: tuple[SeenChart, ...] = ()


class Look(Protocol):
    """A vision service. Raises DependencyDown when it does not answer."""

    async def read_page(self, png: bytes) -> Seen: ...


async def looked_at(page: Page, look: Look) -> Page:
    """The page with what its pictures say in their places."""
    if not page.pictures:
        return page
    blocks = list(page.blocks)
    for picture in reversed(page.pictures):
        seen = await look.read_page(picture.png)
        path = picture.path or (blocks[picture.place - 1].path if 0 < picture.place <= len(blocks) else ())
        blocks[picture.place : picture.place] = blocks_seen(seen, picture, path, page)
    return replace(page, blocks=tuple(blocks), pictures=())


def blocks_seen(seen: Seen, picture: Picture, path: tuple[str, ...], page: Page) -> list[Block]:
    """What was seen as blocks: a whole page like any other page, a picture on one as a block of its own."""
    box = picture.box or (0.0, 0.0, page.width or 1000.0, page.height or 1000.0)
    frame = _Frame(box, page.height or box[3])
    tables = [frame.table(table) for table in seen.tables if table.cells]
    apart: list[Box] = [*(table.box for table in seen.tables), *(chart.box for chart in seen.charts)]
    lines = [frame.line(line) for line in seen.lines
             if line.confidence >= LEAST_CONFIDENCE and one_line(line.text) and not _inside(line.box, apart)]
    if not picture.whole:
        return _picture_blocks(frame, lines, tables, seen, picture, path)
    figures = [frame.figure(chart) for chart in seen.charts if chart.text]
    ordered = in_reading_order([*_evened(lines), *tables, *figures], ordered=False)
    items = ordered if seen.tables else take_aligned(ordered)
    sizes = Sizes()
    sizes.add(items)
    return [replace(block.shown, path=block.path, caption=block.caption) if isinstance(block, Figure) else block
            for block in blocks_of(items, sizes, Headings.under(path), frame.height)]


def _evened(lines: Sequence[Line]) -> list[Line]:
    """Lines as high as a font's boxes are: seen boxes are higher or lower by the letters that they hold.

    Without that every other line would be a heading, or every line a paragraph.
    """
    if not lines:
        return []
    usual = median(line.size for line in lines)
    steps = [above.bottom - below.bottom for above, below in pairwise(lines)]
    even = median([step for step in steps if 0.8 * usual < step < 2 * usual] or [LEADING * usual]) / LEADING
    return [_of_height(line, even * (1.0 if line.size < SURELY_LARGER * usual else line.size / usual))
            for line in lines]


def _of_height(line: Line, height: float) -> Line:
    middle = (line.bottom + line.top) / 2
    return Line(tuple(Word(word.text, word.left, middle - height / 2, word.right, middle + height / 2)
                      for word in line.words))


def _picture_blocks(
    frame: _Frame, lines: Sequence[Line], tables: Sequence[Table], seen: Seen, picture: Picture, path: tuple[str, ...]
) -> list[Block]:
    found = [table_block(table.cells, path, picture.caption, picture.box) for table in tables]
    blocks = [block for block in found if block is not None]
    ordered = in_reading_order(lines, ordered=False)
    text = "\n".join(item.text for item in ordered if isinstance(item, Line))
    if text:
        blocks.append(Block("image", text, path=path, caption=picture.caption, box=picture.box))
    blocks += [replace(frame.figure(chart).shown, path=path, caption=picture.caption)
               for chart in seen.charts if chart.text]
    if not blocks and picture.caption:
        blocks.append(Block("paragraph", picture.caption, path=path, box=picture.box))
    return blocks


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where a picture stands on its page; `height` of the page, as PDF coordinates count upwards."""

    box: Box
    height: float

    def _placed(self, box: Box) -> Box:
        left, top, right, bottom = self.box
        wide, high = right - left, bottom - top
        return (left + box[0] * wide, top + box[1] * high, left + box[2] * wide, top + box[3] * high)

    def line(self, seen: SeenLine) -> Line:
        """Words get their share of the line's width by their letters."""
        left, top, right, bottom = self._placed(seen.box)
        words = one_line(seen.text).split()
        letters = sum(map(len, words))
        blank = min((right - left) / (letters + len(words)), WIDEST_BLANK * (bottom - top))
        step = (right - left - blank * (len(words) - 1)) / letters
        made, at = [], left
        for word in words:
            made.append(Word(word, at, self.height - bottom, at + step * len(word), self.height - top))
            at += step * len(word) + blank
        return Line(tuple(made))

    def table(self, seen: SeenTable) -> Table:
        left, top, right, bottom = self._placed(seen.box)
        return Table([list(row) for row in seen.cells], left, self.height - bottom, right, self.height - top)

    def figure(self, seen: SeenChart) -> Figure:
        """A chart at its place; what is shown is its block."""
        box = self._placed(seen.box)
        left, top, right, bottom = box
        return Figure([], left, self.height - bottom, right, self.height - top, Block("chart", seen.text, box=box))


def _inside(box: Box, others: Sequence[Box]) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in others)


