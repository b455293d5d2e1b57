"""PDF: the text layer by pdfium, with headings, tables and paragraphs found again."""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Document, Headings, Page, clean, one_line, table_block
from ullage.ingest.readers.pdf_page import Line, lines_of, rulings_of
from ullage.ingest.readers.pdf_tables import Table, join_words, take_aligned, take_ruled

MOST_PAGES = 5000
EDGE = 0.1
"""Share of a page's height at its top and bottom where running headers and footers stand."""
REPEATED = 0.4
HEADING_SIZE = 1.1
"""A heading's characters are at least this much taller than those of the text."""
LONGEST_HEADING = 160

_PDFIUM = threading.Lock()
"""pdfium is not thread-safe."""

_NUMBER = re.compile(r"\d+")
_ENTRY = re.compile(r"(?:[•◦▪‣·–—*-]|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+\S")
_CAPTION = re.compile(r"(?:Table|Tab\.|Tabelle|Tableau|Tabla)\s+[A-Z]?\d[\d.]*\b", re.IGNORECASE)


@dataclass(slots=True)
class _Sheet:
    """What was found on one page, in reading order. `pictured`: it shows something, but holds no text."""

    number: int
    height: float
    items: list[Line | Table] = field(default_factory=list)
    pictured: bool = False


def read_pdf(path: Path, name: str) -> Document:
    """Raises DocumentRefused for an encrypted or broken file, too many pages, or no text layer at all.

    Pages without text in a file that has some are named in `warnings`.
    """
    with _PDFIUM:
        sheets = list(_sheets(path, name))
    bare = [sheet.number for sheet in sheets if sheet.pictured]
    if bare and not any(sheet.items for sheet in sheets):
        raise DocumentRefused(f"{name}: {len(bare)} of {len(sheets)} pages have no text layer; OCR comes with the "
                              "vision service, until then give a PDF with text")
    warnings = (f"{name}: {_pages_text(bare)} no text layer and cannot be found ({len(bare)} of {len(sheets)} pages); "
                "OCR comes with the vision service",) if bare else ()
    _drop_running_lines(sheets)
    return Document(name, tuple(_pages(sheets)), warnings)


def _pages_text(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:10]) + (" ..." if len(numbers) > 10 else "")
    return f"page {shown} has" if len(numbers) == 1 else f"pages {shown} have"


def _sheets(path: Path, name: str) -> Iterator[_Sheet]:
    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD:
            raise DocumentRefused(f"{name}: is encrypted; remove the password and upload it again") from None
        raise DocumentRefused(f"{name}: is a broken PDF; save or print it to PDF again") from None
    try:
        if len(document) > MOST_PAGES:
            raise DocumentRefused(f"{name}: has {len(document)} pages, {MOST_PAGES} at most; split it")
        for index in range(len(document)):
            yield _sheet(document, index, name)
    finally:
        document.close()


def _sheet(document: pdfium.PdfDocument, index: int, name: str) -> _Sheet:
    try:
        page = document[index]
    except pdfium.PdfiumError:
        raise DocumentRefused(f"{name}: page {index + 1} is broken; save or print it to PDF again") from None
    try:
        sheet = _Sheet(index + 1, page.get_height())
        lines = lines_of(page)
        if lines:
            items, _ = take_ruled(lines, rulings_of(page))
            sheet.items = take_aligned(items)
        else:
            sheet.pictured = next(iter(page.get_objects(max_depth=2)), None) is not None
        return sheet
    finally:
        page.close()


def _drop_running_lines(sheets: Sequence[_Sheet]) -> None:
    """Lines at the edge that are the same on many pages, page numbers apart."""
    counts = Counter(key for sheet in sheets for key in {_key(line) for line in _edge_lines(sheet)})
    least = max(3, math.ceil(REPEATED * len(sheets)))
    for sheet in sheets:
        running = [line for line in _edge_lines(sheet) if counts[_key(line)] >= least]
        sheet.items = [item for item in sheet.items if not any(item is line for line in running)]


def _edge_lines(sheet: _Sheet) -> Iterator[Line]:
    for item in sheet.items:
        if isinstance(item, Line) and (item.bottom > sheet.height * (1 - EDGE) or item.top < sheet.height * EDGE):
            yield item


def _key(line: Line) -> str:
    return _NUMBER.sub("#", line.text)


def _pages(sheets: Sequence[_Sheet]) -> Iterator[Page]:
    levels = _heading_levels(sheets)
    headings = Headings()
    for sheet in sheets:
        yield Page(sheet.number, tuple(_blocks(sheet.items, levels, headings)))


def _heading_levels(sheets: Sequence[_Sheet]) -> dict[float, int]:
    """Level by rounded size for every size clearly above that of most characters."""
    characters: Counter[float] = Counter()
    for sheet in sheets:
        for item in sheet.items:
            if isinstance(item, Line):
                characters[_rounded(item.size)] += len(item.text)
    if not characters:
        return {}
    body = characters.most_common(1)[0][0]
    larger = sorted((size for size in characters if size >= body * HEADING_SIZE), reverse=True)
    return {size: level for level, size in enumerate(larger, start=1)}


def _rounded(size: float) -> float:
    return round(size * 2) / 2


def _blocks(items: Sequence[Line | Table], levels: dict[float, int], headings: Headings) -> Iterator[Block]:
    caption = ""
    for group in _groups(items, levels):
        if isinstance(group, Table):
            block = table_block(group.cells, headings.path, caption)
            caption = ""
            if block is not None:
                yield block
            continue
        if caption:
            yield Block("paragraph", caption, path=headings.path)
            caption = ""
        text = one_line(clean(join_words([line.text for line in group])))
        level = levels.get(_rounded(group[0].size), 0)
        if not text:
            continue
        if level and len(text) <= LONGEST_HEADING:
            yield headings.enter(level, text)
        elif _CAPTION.match(text) and len(text) <= LONGEST_HEADING:
            caption = text
        else:
            yield Block("paragraph", text, path=headings.path)
    if caption:
        yield Block("paragraph", caption, path=headings.path)


def _groups(items: Sequence[Line | Table], levels: dict[float, int]) -> Iterator[list[Line] | Table]:
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


def _goes_on(last: Line, line: Line, levels: dict[float, int]) -> bool:
    """Whether a line continues the paragraph of the one before."""
    if levels.get(_rounded(last.size), 0) != levels.get(_rounded(line.size), 0):
        return False
    gap = last.bottom - line.top
    if not -1.5 * line.size < gap < 0.45 * line.size:
        return False
    return not _ENTRY.match(line.text) and not _CAPTION.match(last.text)
