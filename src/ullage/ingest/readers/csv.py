"""CSV: the delimiter is found out, rows become tables."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator

from ullage.errors import DocumentRefused
from ullage.ingest.document import Page
from ullage.ingest.readers.rows import MOST_COLUMNS, tables
from ullage.ingest.readers.source import Source
from ullage.ingest.readers.text import decode

DELIMITERS = ",;\t|"
SAMPLE_LINES = 20
LONGEST_CELL = 1 << 20
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def read_csv(source: Source) -> Iterator[Page]:
    """One page in parts. Raises DocumentRefused for rows of more columns than make sense."""
    text = decode(source.read(), source.name)
    delimiter = _delimiter(text)
    csv.field_size_limit(LONGEST_CELL)
    rows = csv.reader(_checked(text, delimiter, source.name), delimiter=delimiter)
    try:
        for block in tables(rows, source.name, ()):
            yield Page(1, (block,))
    except csv.Error as error:
        raise DocumentRefused(f"{source.name}: is no CSV file (line {rows.line_num}: {error}); save it again") from None


def _delimiter(text: str) -> str:
    """The one that most lines hold equally often; a comma where none does."""
    lines = [line for line in (found.group() for found in itertools.islice(_LINE.finditer(text), SAMPLE_LINES))
             if line.strip()]

    def agreement(delimiter: str) -> tuple[int, int]:
        counts = [line.count(delimiter) for line in lines]
        most = max(set(counts), key=counts.count) if counts else 0
        return (counts.count(most) if most else 0), most

    return max(DELIMITERS, key=agreement)


def _checked(text: str, delimiter: str, name: str) -> Iterable[str]:
    """Lines, before the parser makes a list of ten million cells of one."""
    for found in _LINE.finditer(text):
        line = found.group()
        columns = line.count(delimiter) + 1
        if columns > MOST_COLUMNS and '"' not in line:
            raise DocumentRefused(f"{name}: has {columns} columns, {MOST_COLUMNS} at most; turn it on its side or "
                                  "split it")
        if columns > 50 * MOST_COLUMNS:
            raise DocumentRefused(f"{name}: holds a line of {len(line)} characters with {columns} delimiters; it is no "
                                  "table")
        yield line
