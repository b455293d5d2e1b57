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
UNMAPPED_STEP = 7
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


@dataclass(frozen=True, slots=True)
class Line:
    """Words on one baseline. `size` is the height of the boxes of most of its letters, which follows the font size: a
    bullet, a raised number or a name in another face does not count."""

    words: tuple[Word, ...]
    text: str = field(init=False)
    left: float = field(init=False)
    bottom: float = field(init=False)
    right: float = field(init=False)
    top: float = field(init=False)
    size: float = field(init=False)

    def __post_init__(self) -> None:
        words = self.words
        put = object.__setattr__
        put(self, "text", " ".join([word.text for word in words]))
        put(self, "left", min([word.left for word in words]))
        put(self, "bottom", min([word.bottom for word in words]))
        put(self, "right", max([word.right for word in words]))
        put(self, "top", max([word.top for word in words]))
        put(self, "size", _usual_height(words))


def _usual_height(words: tuple[Word, ...]) -> float:
    """The median, each word counted by its letters."""
    heights = sorted((word.top - word.bottom, len(word.text)) for word in words)
    left = sum(letters for _, letters in heights) / 2
    for height, letters in heights:
        left -= letters
        if left <= 0:
            return height
    return heights[-1][0]


@dataclass(frozen=True, slots=True)
class Sheet:
    """How a page lies: `turned` quarter turns clockwise, `left` and `bottom` where its visible part begins."""

    width: float
    height: float
    turned: int
    left: float
    bottom: float

    @classmethod
    def of(cls, page: pdfium.PdfPage) -> Sheet:
        left, bottom, _, _ = page.get_cropbox()
        return cls(page.get_width(), page.get_height(), page.get_rotation() // 90 % 4, left, bottom)

    def shown(self, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
        """A box of the page's own coordinates as the reader sees it."""
        x0, y0, x1, y1 = left - self.left, bottom - self.bottom, right - self.left, top - self.bottom
        if self.turned == 0:
            return x0, y0, x1, y1
        if self.turned == 1:
            return y0, self.height - x1, y1, self.height - x0
        if self.turned == 2:
            return self.width - x1, self.height - y1, self.width - x0, self.height - y0
        return self.width - y1, x0, self.width - y0, x1

    def clipped(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float] | None:
        """The part of a shown box that lies on the page; None when none does."""
        left, bottom = max(0.0, box[0]), max(0.0, box[1])
        right, top = min(self.width, box[2]), min(self.height, box[3])
        return (left, bottom, right, top) if right > left and top > bottom else None

    @property
    def plain(self) -> bool:
        return not self.turned and not self.left and not self.bottom


@dataclass(frozen=True, slots=True)
class Rulings:
    """Horizontal lines as (y, left, right) and vertical ones as (x, bottom, top)."""

    horizontal: Sequence[tuple[float, float, float]]
    vertical: Sequence[tuple[float, float, float]]


def lines_of(page: pdfium.PdfPage, sheet: Sheet) -> tuple[list[Line], float]:
    """Lines in the order pdfium reads them, and the share of characters whose meaning the file does not say.

    A soft hyphen at a line's end stays as U+00AD.
    """
    text_page = page.get_textpage()
    try:
        return list(_lines(text_page, sheet)), _unmapped(text_page)
    finally:
        text_page.close()


def _unmapped(text_page: pdfium.PdfTextPage) -> float:
    """Of every few characters, how many have no Unicode in the file."""
    places = range(0, min(text_page.count_chars(), CHARACTERS_PER_PAGE), UNMAPPED_STEP)
    unknown = sum(bool(raw.FPDFText_HasUnicodeMapError(text_page.raw, place) == 1) for place in places)
    return unknown / max(1, len(places))


def _lines(text_page: pdfium.PdfTextPage, sheet: Sheet) -> Iterator[Line]:
    """A word's box is that of its first and last character: their loose boxes follow the font, not the letter."""
    words: list[Word] = []
    letters: list[str] = []
    first = last = 0
    unicode_at, handle = raw.FPDFText_GetUnicode, text_page.raw

    for index in range(min(text_page.count_chars(), CHARACTERS_PER_PAGE)):
        letter = chr(unicode_at(handle, index) % 0x110000)
        if not letter.isspace() and letter != "\0":
            if not letters:
                first = index
            last = index
            letters.append("\u00ad" if letter in _HYPHENS_AT_LINE_END else letter)
            continue
        if letters:
            words += _word(handle, letters, first, last, sheet)
            letters = []
        if letter in _LINE_BREAKS and words:
            yield Line(tuple(words))
            words = []
    if letters:
        words += _word(handle, letters, first, last, sheet)
    if words:
        yield Line(tuple(words))


def _word(handle: Any, letters: list[str], first: int, last: int, sheet: Sheet) -> Iterator[Word]:
    box, end = raw.FS_RECTF(), raw.FS_RECTF()
    if not raw.FPDFText_GetLooseCharBox(handle, first, box) or not raw.FPDFText_GetLooseCharBox(handle, last, end):
        return
    extent = (min(box.left, end.left), min(box.bottom, end.bottom), max(box.right, end.right), max(box.top, end.top))
    yield Word("".join(letters), *(extent if sheet.plain else sheet.shown(*extent)))


def rulings_of(page: pdfium.PdfPage, sheet: Sheet) -> Rulings:
    """Straight strokes and edges of rectangles, which is how tables are drawn."""
    horizontal: list[tuple[float, float, float]] = []
    vertical: list[tuple[float, float, float]] = []
    seen = 0
    for item in page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH]):
        for start, end in _segments(item):
            seen += 1
            (x0, y0), (x1, y1) = (start, end) if sheet.plain else (sheet.shown(*start, *start)[:2],
                                                                    sheet.shown(*end, *end)[:2])
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
