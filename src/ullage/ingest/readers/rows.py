"""Rows of cells as they come, cut into tables that fit in memory: what spreadsheets and CSV files share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, one_line, table_block

MOST_COLUMNS = 2000
MOST_ROWS = 2_000_000
ROWS_PER_BLOCK = 500


def tables(rows: Iterable[Sequence[str]], name: str, path: tuple[str, ...]) -> Iterator[Block]:
    """Blocks of at most ROWS_PER_BLOCK rows, each with the header; an empty row ends a table.

    A lone cell before a table is its caption. Raises DocumentRefused for more columns or rows than make sense.
    """
    header: list[str] = []
    body: list[list[str]] = []
    caption = ""
    told = False
    for number, row in enumerate(rows, start=1):
        if number > MOST_ROWS:
            raise DocumentRefused(f"{name}: has more than {MOST_ROWS} rows; split it")
        cells = _trimmed(row, name)
        if not cells:
            yield from [] if told and not body else _block(header, body, path, caption)
            caption = caption if not header else ""
            header, body, told = [], [], False
        elif not header:
            if len(cells) == 1:
                yield from [Block("paragraph", caption, path=path)] if caption else []
                caption = one_line(cells[0])
            else:
                header = cells
        else:
            body.append(cells)
            if len(body) == ROWS_PER_BLOCK:
                yield from _block(header, body, path, caption)
                body, told = [], True
    if caption and not header:
        yield Block("paragraph", caption, path=path)
    elif body or not told:
        yield from _block(header, body, path, caption)


def _trimmed(row: Sequence[str], name: str) -> list[str]:
    if len(row) > MOST_COLUMNS:
        raise DocumentRefused(f"{name}: has {len(row)} columns, {MOST_COLUMNS} at most; turn it on its side or "
                              "split it")
    cells = [cell.strip() for cell in row]
    while cells and not cells[-1]:
        cells.pop()
    return cells


def _block(
    header: Sequence[str], body: Sequence[Sequence[str]], path: tuple[str, ...], caption: str
) -> Iterator[Block]:
    block = table_block([header, *body], path, caption) if header and body else None
    if block is not None:
        yield block
    elif header and not body:
        yield Block("paragraph", one_line("; ".join(cell for cell in header if cell)), path=path, caption="")
