"""Excel files by openpyxl, row by row: a sheet is a page under its own name."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import Any

import openpyxl

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Headings, Page, page_of
from ullage.ingest.readers.archive import archive, check_xml
from ullage.ingest.readers.rows import tables
from ullage.ingest.readers.source import Source
from ullage.ingest.readers.xlsx_drawings import BREAKING, Drawings

MOST_SHEETS = 500


def read_xlsx(source: Source) -> Iterator[Page]:
    """Values as last computed; a sheet's charts and pictures come after its cells."""
    with archive(source) as opened:
        check_xml(opened, source)
        try:
            with source.open() as stream:
                book = openpyxl.load_workbook(stream, read_only=True, data_only=True, keep_links=False)
                try:
                    yield from _sheets(book, source, Drawings(opened, source))
                finally:
                    book.close()
        except DocumentRefused:
            raise
        except BREAKING as error:
            raise DocumentRefused(f"{source.name}: is a broken Excel file ({type(error).__name__}); save it again"
                                  ) from None


def _sheets(book: Any, source: Source, drawings: Drawings) -> Iterator[Page]:
    if len(book.worksheets) > MOST_SHEETS:
        raise DocumentRefused(f"{source.name}: has {len(book.worksheets)} sheets, {MOST_SHEETS} at most; split it")
    source.total = len(book.worksheets)
    for number, sheet in enumerate(book.worksheets, start=1):
        sheet.reset_dimensions()
        headings = Headings()
        title = headings.enter(1, str(sheet.title))
        first: tuple[Block, ...] = (title,)
        for block in tables(_rows(sheet), source.name, headings.path):
            yield Page(number, (*first, block))
            first = ()
        drawn = page_of(number, (*first, *drawings.under(sheet._worksheet_path, str(sheet.title), headings.path)))
        if len(drawn.blocks) > len(first) or drawn.pictures:
            yield drawn


def _rows(sheet: Any) -> Iterator[list[str]]:
    """Rows that hold something, and one empty row for any number of empty ones."""
    empty = True
    for row in sheet.iter_rows():
        cells = [_text(cell) for cell in row]
        if any(cells):
            yield cells
            empty = False
        elif not empty:
            yield []
            empty = True


def _text(cell: Any) -> str:
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return value.date().isoformat() if midnight else value.isoformat(" ", "minutes")
    if isinstance(value, float | int):
        if "%" in str(getattr(cell, "number_format", "")):
            return f"{round(value * 100, 4):g} %"
        return str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else f"{value:.10g}"
    return str(value)
