"""One PDF page as pdfium sees it: words with their boxes in reading order, and the ruling lines drawn on it.

All coordinates are PDF points, y upwards.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

CHARACTERS_PER_PAGE = 200_000
SEGMENTS_PER_PAGE = 20_000
STRAIGHT = 1.0
"""Points by which a horizontal line may rise."""

_LINE_BREAKS = frozenset("\r\n")
_HYPHENS_AT_LINE_END = frozenset("\x02\ufffe\u00ad")


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    left: float
    bottom: float
    right: float
    top: float

    @property
    def middle(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.bottom + self.top) / 2


@dataclass(slots=True)
class Line:
    """`size` is the height of its tallest character box, which follows the font size."""

    words: list[Word] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)

    @property
    def left(self) -> float:
        return min(word.left for word in self.words)

    @property
    def right(self) -> float:
        return max(word.right for word in self.words)

    @property
    def bottom(self) -> float:
        return min(word.bottom for word in self.words)

    @property
    def top(self) -> float:
        return max(word.top for word in self.words)

    @property
    def size(self) -> float:
        return max(word.top - word.bottom for word in self.words)


@dataclass(frozen=True, slots=True)
class Rulings:
    """Horizontal lines as (y, left, right) and vertical ones as (x, bottom, top)."""

    horizontal: Sequence[tuple[float, float, float]]
    vertical: Sequence[tuple[float, float, float]]


def lines_of(page: pdfium.PdfPage) -> list[Line]:
    """Lines in the order pdfium reads them; a soft hyphen at a line's end stays as U+00AD."""
    text_page = page.get_textpage()
    try:
        return [line for line in _lines(text_page) if line.words]
    finally:
        text_page.close()


def _lines(text_page: pdfium.PdfTextPage) -> Iterator[Line]:
    handle = text_page.raw
    box = raw.FS_RECTF()
    line = Line()
    letters: list[str] = []
    extent: list[float] = []

    def end_word() -> None:
        if letters:
            line.words.append(Word("".join(letters), *extent))
            letters.clear()

    for index in range(min(text_page.count_chars(), CHARACTERS_PER_PAGE)):
        letter = chr(raw.FPDFText_GetUnicode(handle, index) % 0x110000)
        if letter in _LINE_BREAKS:
            end_word()
            if line.words:
                yield line
                line = Line()
        elif letter.isspace():
            end_word()
        elif raw.FPDFText_GetLooseCharBox(handle, index, box):
            place = (box.left, box.bottom, box.right, box.top)
            extent = _joined(extent, place) if letters else list(place)
            letters.append("\u00ad" if letter in _HYPHENS_AT_LINE_END else letter)
    end_word()
    yield line


def _joined(extent: Sequence[float], place: Sequence[float]) -> list[float]:
    return [
        min(extent[0], place[0]),
        min(extent[1], place[1]),
        max(extent[2], place[2]),
        max(extent[3], place[3]),
    ]


def rulings_of(page: pdfium.PdfPage) -> Rulings:
    """Straight strokes and edges of rectangles, which is how tables are drawn."""
    horizontal: list[tuple[float, float, float]] = []
    vertical: list[tuple[float, float, float]] = []
    seen = 0
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH]):
        for (x0, y0), (x1, y1) in _segments(item):
            seen += 1
            if abs(y0 - y1) <= STRAIGHT < abs(x0 - x1):
                horizontal.append(((y0 + y1) / 2, min(x0, x1), max(x0, x1)))
            elif abs(x0 - x1) <= STRAIGHT < abs(y0 - y1):
                vertical.append(((x0 + x1) / 2, min(y0, y1), max(y0, y1)))
        if seen > SEGMENTS_PER_PAGE:
            return Rulings((), ())
    return Rulings(horizontal, vertical)


Point = tuple[float, float]


def _segments(item: pdfium.PdfObject) -> Iterator[tuple[Point, Point]]:
    matrix = item.get_matrix()
    start = last = (0.0, 0.0)
    x, y = ctypes.c_float(), ctypes.c_float()
    for number in range(min(raw.FPDFPath_CountSegments(item.raw), SEGMENTS_PER_PAGE)):
        segment: Any = raw.FPDFPath_GetPathSegment(item.raw, number)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = matrix.on_point(x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            start = point
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield last, point
        last = point
        if raw.FPDFPathSegment_GetClose(segment):
            yield last, start
            last = start
