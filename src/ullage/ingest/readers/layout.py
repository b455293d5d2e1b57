"""The order in which a person reads a page: column after column, between the lines that run across all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from ullage.ingest.readers.pdf_page import Line, Word
from ullage.ingest.readers.pdf_tables import CAPTION, Table

Item = Line | Table

WIDE_GAP = 1.5
"""Times the character height: white space that parts two columns, not two words."""

LEAST_ROWS = 5
LEAST_WORDS = 3.0
LEAST_FILL = 0.55
"""Share of its column's width that a line of prose fills on average; cells of a table fill less."""

MOST_COLUMNS = 4
GUTTER_STEP = 3.0
DISORDER = 0.1
"""Share of lines that may stand above the one before until the order of the file counts as none."""


def in_reading_order(items: Sequence[Item], *, ordered: bool = True) -> list[Item]:
    """Columns of prose one after the other. Other pages keep the file's own order if it has one (`ordered`)."""
    parts = [part for item in items for part in (_split(item) if isinstance(item, Line) else [item])]
    gutters = _gutters(parts)
    if gutters:
        return list(_by_columns(parts, gutters))
    if ordered and not _disordered(items):
        return list(items)
    return _by_rows(parts)


def _split(line: Line) -> list[Line]:
    """A line parted where its words stand wide apart."""
    runs: list[list[Word]] = [[]]
    for word in line.words:
        if runs[-1] and word.left - runs[-1][-1].right > WIDE_GAP * line.size:
            runs.append([])
        runs[-1].append(word)
    return [line] if len(runs) == 1 else [Line(tuple(run)) for run in runs]


def _gutters(parts: Sequence[Item]) -> list[float]:
    """The x of white strips between columns of prose, from the left; none on a page of one column."""
    lines = [part for part in parts if isinstance(part, Line)]
    return _gutters_between(lines, MOST_COLUMNS - 1)


def _gutters_between(lines: Sequence[Line], most: int) -> list[float]:
    gutter = _gutter(lines) if most else None
    if gutter is None:
        return []
    left = [line for line in lines if line.right <= gutter]
    right = [line for line in lines if line.left >= gutter]
    return [*_gutters_between(left, most - 1), gutter, *_gutters_between(right, most - 1)][:most]


def _gutter(lines: Sequence[Line]) -> float | None:
    """The best place to cut, if what stands on both sides is prose."""
    if len(lines) < 2 * LEAST_ROWS:
        return None
    begin, end = min(line.left for line in lines), max(line.right for line in lines)
    best: tuple[int, float, float] | None = None
    x = begin + 0.2 * (end - begin)
    while x < end - 0.2 * (end - begin):
        crossed = sum(line.left < x < line.right for line in lines)
        if best is None or (crossed, abs(x - (begin + end) / 2)) < best[:2]:
            best = (crossed, abs(x - (begin + end) / 2), x)
        x += GUTTER_STEP
    if best is None or best[0] > 0.4 * len(lines):
        return None
    gutter = best[2]
    left = [line for line in lines if line.right <= gutter]
    right = [line for line in lines if line.left >= gutter]
    return gutter if _is_prose(left) and _is_prose(right) and _beside(left, right) else None


def _is_prose(lines: Sequence[Line]) -> bool:
    if len(lines) < LEAST_ROWS:
        return False
    width = max(line.right for line in lines) - min(line.left for line in lines)
    words = sum(len(line.words) for line in lines) / len(lines)
    fill = sum(line.right - line.left for line in lines) / len(lines) / max(width, 1.0)
    return words >= LEAST_WORDS and fill >= LEAST_FILL


def _beside(left: Sequence[Line], right: Sequence[Line]) -> bool:
    """Whether the two stand beside each other for some rows, not one above the other."""
    top = min(max(line.top for line in left), max(line.top for line in right))
    bottom = max(min(line.bottom for line in left), min(line.bottom for line in right))
    shared = [min(sum(bottom <= line.bottom <= top for line in side) for side in (left, right))]
    return shared[0] >= LEAST_ROWS - 1


def _by_columns(parts: Sequence[Item], gutters: Sequence[float]) -> Iterator[Item]:
    """Bands from the top down; a band ends at what crosses a gutter, and at the caption of a table that does."""
    band: list[Item] = []
    rows = _rows(parts)
    across = [any(item.left < gutter < item.right for item in row for gutter in gutters) for row in rows]
    for number, row in enumerate(rows):
        heads_table = number + 1 < len(rows) and across[number + 1] and _is_caption(row, rows[number + 1])
        if across[number] or heads_table:
            yield from _columns(band, gutters)
            band = []
            yield from row
        else:
            band += row
    yield from _columns(band, gutters)


def _is_caption(row: Sequence[Item], below: Sequence[Item]) -> bool:
    first = row[0]
    return isinstance(below[0], Table) and len(row) == 1 and isinstance(first, Line) and bool(CAPTION.match(first.text))


def _columns(band: Sequence[Item], gutters: Sequence[float]) -> Iterator[Item]:
    edges = [float("-inf"), *gutters, float("inf")]
    for left, right in pairwise(edges):
        inside = [item for item in band if left <= (item.left + item.right) / 2 < right]
        yield from _by_rows(inside)


def _rows(parts: Sequence[Item]) -> list[list[Item]]:
    """Items on one height, from the left, rows from the top down."""
    rows: list[list[Item]] = []
    for item in sorted(parts, key=lambda item: -(item.top + item.bottom)):
        last = rows[-1][0] if rows else None
        if last is not None and _on_one_height(last, item):
            rows[-1].append(item)
        else:
            rows.append([item])
    return [sorted(row, key=lambda item: item.left) for row in rows]


def _on_one_height(one: Item, other: Item) -> bool:
    shared = min(one.top, other.top) - max(one.bottom, other.bottom)
    return shared > 0.5 * min(one.top - one.bottom, other.top - other.bottom)


def _by_rows(parts: Sequence[Item]) -> list[Item]:
    return [item for row in _rows(parts) for item in row]


def _disordered(items: Sequence[Item]) -> bool:
    rises = sum(after.bottom > before.top for before, after in pairwise(items))
    return rises > max(3.0, DISORDER * len(items))
