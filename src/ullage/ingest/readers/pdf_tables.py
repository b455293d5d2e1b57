"""Tables on a PDF page, from their ruling lines or, without any, from columns of white space."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ullage.ingest.readers.pdf_page import Line, Rulings, Word

TOUCH = 3.0
"""Points by which two lines may miss each other and still meet, or differ and still be one."""
WIDE_GAP = 8.0
LEAST_ROWS_WITHOUT_RULES = 3
LONGEST_CELL_WORDS = 12
MOST_RULINGS = 3000
CAPTION = re.compile(r"(?:Table|Tab\.|Tabelle|Tableau|Tabla)\s+[A-Z]?\d[\d.]*\b", re.IGNORECASE)
FIGURE = re.compile(r"(?:Figure|Fig\.|Chart|Diagram|Abbildung|Abb\.|Bild|Diagramm|Grafik)\s+"
                    r"[A-Z]?\d+(?:[.-]\d+)*[a-z]?\s*[:.–—-]\s", re.IGNORECASE)
"""How the caption of a picture begins."""


@dataclass(frozen=True, slots=True)
class Table:
    """`cells` by row, header first, and where it stands on the page."""

    cells: list[list[str]]
    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True, slots=True)
class Figure(Table):
    """What is no text, at its place among the lines: it has no cells, and `shown` is what stands there.

    `path` and `caption` are known once the page's blocks are.
    """

    shown: Any
    path: tuple[str, ...] = ()
    caption: str = ""


def take_ruled(lines: Sequence[Line], rulings: Rulings) -> tuple[list[Line | Table], int]:
    """The page's lines with ruled tables in place of the lines inside them, and how many tables there are."""
    items: list[Line | Table] = list(lines)
    count = 0
    for grid in _grids(rulings):
        items, found = _replace(items, grid)
        count += found
    return items, count


@dataclass(frozen=True, slots=True)
class _Grid:
    """Row borders from the top down, column borders from the left, and the vertical lines that separate cells."""

    ys: list[float]
    xs: list[float]
    verticals: list[tuple[float, float, float]]

    def row(self, word: Word) -> int | None:
        x, y = word.middle
        if not self.xs[0] - TOUCH <= x <= self.xs[-1] + TOUCH:
            return None
        return next((n for n in range(len(self.ys) - 1) if self.ys[n + 1] <= y <= self.ys[n]), None)

    def borders(self, row: int) -> list[float]:
        """Column borders that are drawn in this row; a missing one means a cell over several columns."""
        middle = (self.ys[row] + self.ys[row + 1]) / 2
        return [
            x
            for n, x in enumerate(self.xs)
            if n in (0, len(self.xs) - 1)
            or any(abs(v - x) <= TOUCH and low <= middle <= high for v, low, high in self.verticals)
        ]


def _grids(rulings: Rulings) -> list[_Grid]:
    """Groups of lines that touch each other and enclose at least two rows and two columns."""
    across, down = list(rulings.horizontal), list(rulings.vertical)
    if not across or not down or len(across) > MOST_RULINGS or len(down) > MOST_RULINGS:
        return []
    h, v = np.asarray(across), np.asarray(down)
    meets = (
        (h[:, None, 1] - TOUCH <= v[None, :, 0])
        & (v[None, :, 0] <= h[:, None, 2] + TOUCH)
        & (v[None, :, 1] - TOUCH <= h[:, None, 0])
        & (h[:, None, 0] <= v[None, :, 2] + TOUCH)
    )
    grids = []
    free = set(range(len(across)))
    while free:
        rows, columns = _component(meets, free.pop())
        free -= rows
        ys = sorted(_merged(across[n][0] for n in rows), reverse=True)
        xs = sorted(_merged(down[n][0] for n in columns))
        if len(ys) >= 3 and len(xs) >= 3:
            grids.append(_Grid(ys, xs, [down[n] for n in columns]))
    return sorted(grids, key=lambda grid: -grid.ys[0])


def _component(meets: np.ndarray[tuple[int, int], np.dtype[np.bool_]], first: int) -> tuple[set[int], set[int]]:
    """Indices of the horizontal and vertical lines connected with one horizontal line."""
    rows, columns, fresh = {first}, set[int](), {first}
    while fresh:
        reached = set(np.flatnonzero(meets[sorted(fresh)].any(axis=0)).tolist()) - columns
        columns |= reached
        fresh = set(np.flatnonzero(meets[:, sorted(reached)].any(axis=1)).tolist()) - rows if reached else set()
        rows |= fresh
    return rows, columns


def _merged(values: Iterable[float]) -> list[float]:
    """Values closer than TOUCH as one."""
    kept: list[float] = []
    for value in sorted(values):
        if not kept or value - kept[-1] > TOUCH:
            kept.append(value)
    return kept


def _replace(items: list[Line | Table], grid: _Grid) -> tuple[list[Line | Table], bool]:
    cells: list[list[list[str]]] = [[[] for _ in grid.xs[1:]] for _ in grid.ys[1:]]
    kept: list[Line | Table] = []
    place: int | None = None
    for item in items:
        if isinstance(item, Table):
            kept.append(item)
            continue
        outside = []
        for word in item.words:
            row = grid.row(word)
            if row is None:
                outside.append(word)
            else:
                _put(cells[row], grid, row, word)
        if len(outside) < len(item.words) and place is None:
            place = len(kept)
        if outside:
            kept.append(Line(tuple(outside)))
    texts = [[join_words(cell) for cell in row] for row in cells]
    if place is None or not _is_table(texts):
        return items, False
    kept.insert(place, Table([row for row in texts if any(row)], grid.xs[0], grid.ys[-1], grid.xs[-1], grid.ys[0]))
    return kept, True


def _put(row_cells: list[list[str]], grid: _Grid, row: int, word: Word) -> None:
    """A cell over several columns counts for each of them in the header, for the first one below."""
    borders = grid.borders(row)
    x = word.middle[0]
    left = max((b for b in borders[:-1] if b <= x + TOUCH), default=borders[0])
    right = min((b for b in borders[1:] if b > max(x, left)), default=borders[-1])
    spanned = [n for n, start in enumerate(grid.xs[:-1]) if left - TOUCH <= start < right - TOUCH]
    for number in spanned if row == 0 else spanned[:1]:
        row_cells[number].append(word.text)


def _is_table(texts: Sequence[Sequence[str]]) -> bool:
    """A drawing that only looks like a grid has few of its cells filled."""
    rows = [row for row in texts if any(row)]
    filled = sum(bool(cell) for row in rows for cell in row)
    return len(rows) >= 2 and sum(map(bool, rows[0])) >= 2 and filled * 2 >= sum(len(row) for row in rows)


def join_words(words: Sequence[str]) -> str:
    """Words as text; a word that ends in a soft hyphen goes on in the next."""
    return " ".join(words).replace("\u00ad ", "").replace("\u00ad", "")


def take_aligned(items: Sequence[Line | Table]) -> list[Line | Table]:
    """Tables without rules: at least three neighbouring rows whose white space lines up."""
    taken: list[Line | Table] = []
    run: list[Line] = []
    for item in [*_visual_rows(items), None]:
        if isinstance(item, Line) and ((len(_cells_of(item)) >= 2 and _follows(run, item)) or _wraps(run, item)):
            run.append(item)
            continue
        taken += _table_or_lines(run)
        run = []
        if isinstance(item, Line) and len(_cells_of(item)) >= 2:
            run = [item]
        elif item is not None:
            taken.append(item)
    return taken


def _wraps(run: Sequence[Line], line: Line) -> bool:
    """Whether a line goes on with cells of the row above: close below it, and only under cells after the first."""
    if not run or not -0.5 * line.size < run[-1].bottom - line.top < 0.35 * line.size:
        return False
    starts = [cell[0].left for above in run for cell in _cells_of(above)[1:]]
    cells = _cells_of(line)
    return len(cells) < len(_cells_of(run[0])) and all(
        any(abs(cell[0].left - start) <= TOUCH for start in starts) for cell in cells
    )


def _visual_rows(items: Sequence[Line | Table]) -> list[Line | Table]:
    """Lines that stand beside each other as one."""
    rows: list[Line | Table] = []
    for item in items:
        last = rows[-1] if rows else None
        if (
            isinstance(item, Line)
            and isinstance(last, Line)
            and abs(item.bottom - last.bottom) < 0.3 * last.size
            and item.left > last.right
        ):
            rows[-1] = Line((*last.words, *item.words))
        else:
            rows.append(item)
    return rows


def _follows(run: Sequence[Line], line: Line) -> bool:
    return not run or (0 <= run[-1].bottom - line.bottom <= 2.5 * line.size)


def _cells_of(line: Line) -> list[list[Word]]:
    """Words of a line, parted at wide gaps."""
    cells: list[list[Word]] = []
    gap = max(WIDE_GAP, 0.8 * line.size)
    for word in line.words:
        if cells and word.left - cells[-1][-1].right < gap:
            cells[-1].append(word)
        else:
            cells.append([word])
    return cells


def _table_or_lines(run: list[Line]) -> list[Line | Table]:
    wrapped = [_wraps(run[:number], line) for number, line in enumerate(run)]
    if wrapped.count(False) < LEAST_ROWS_WITHOUT_RULES:
        return list(run)
    columns = _columns(run)
    texts: list[list[str]] = []
    for line, goes_on in zip(run, wrapped, strict=True):
        cells = [_in_column(line, column) for column in columns]
        if goes_on:
            texts[-1] = [join_words([*filter(None, pair)]) for pair in zip(texts[-1], cells, strict=True)]
        else:
            texts.append(cells)
    longest = max((len(cell.split()) for row in texts for cell in row), default=0)
    numeric_header = any(cell.replace(".", "").isdigit() for cell in texts[0])
    if len(columns) < 2 or longest > LONGEST_CELL_WORDS or numeric_header or not all(texts[0]):
        return list(run)
    left, right = min(line.left for line in run), max(line.right for line in run)
    return [Table(texts, left, run[-1].bottom, right, run[0].top)]


def _columns(run: Sequence[Line]) -> list[tuple[float, float]]:
    """Stretches of x that some cell covers; between them all rows are white."""
    spans = sorted((cell[0].left, cell[-1].right) for line in run for cell in _cells_of(line))
    columns: list[tuple[float, float]] = []
    for left, right in spans:
        if columns and left <= columns[-1][1] + 1.0:
            columns[-1] = (columns[-1][0], max(columns[-1][1], right))
        else:
            columns.append((left, right))
    return columns


def _in_column(line: Line, column: tuple[float, float]) -> str:
    return join_words([word.text for word in line.words if column[0] <= word.middle[0] <= column[1]])
