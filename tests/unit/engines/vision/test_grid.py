"""Tables by their rules and by how texts line up, without any model."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.engines.vision.grid import Place, ruled_grid, text_grid
from ullage.engines.vision.shapes import Box, Region
from ullage.engines.vision.table import LABELS, table_structure
from ullage.engines.vision.table_model import Structure

WHITE = (255, 255, 255)


def ruled(rows: int, columns: int, *, without: tuple[int, int] | None = None) -> np.ndarray:
    """A grid of cells of 40 x 80 pixels; `without` is a cell that has no rule at its right."""
    image = np.full((rows * 40 + 41, columns * 80 + 41, 3), 255, np.uint8)
    for row in range(rows + 1):
        image[20 + 40 * row : 22 + 40 * row, 20 : 22 + 80 * columns] = 0
    for column in range(columns + 1):
        image[20 : 22 + 40 * rows, 20 + 80 * column : 22 + 80 * column] = 0
    if without:
        row, column = without
        x = 20 + 80 * (column + 1)
        image[24 + 40 * row : 58 + 40 * row, x : x + 2] = 255
    return image


@given(st.integers(2, 8), st.integers(2, 6))
def test_rules_make_rows_and_columns(rows, columns):
    grid = ruled_grid(ruled(rows, columns))
    assert grid is not None
    assert (len(grid.rows), len(grid.columns)) == (rows, columns)
    assert len(grid.cells) == rows * columns
    assert grid.box(Place(0, 0)).iou(Box(21, 21, 101, 61)) > 0.95


def test_a_cell_grows_over_a_border_that_is_not_drawn():
    grid = ruled_grid(ruled(3, 4, without=(0, 1)))
    assert grid is not None
    assert Place(0, 1, 1, 2) in grid.cells
    assert len(grid.cells) == 11


def test_what_has_no_rules_is_no_ruled_table():
    assert ruled_grid(np.full((100, 100, 3), 255, np.uint8)) is None


def texts(rows: int, columns: int, pitch: float = 40) -> list[Box]:
    return [Box(100.0 * c, pitch * r, 100.0 * c + 40 + 7 * ((r + c) % 3), pitch * r + 20)
            for r in range(rows) for c in range(columns)]


@given(st.integers(2, 12), st.integers(2, 7))
def test_texts_that_line_up_make_a_grid(rows, columns):
    grid = text_grid(texts(rows, columns), 1000, 1000)
    assert grid is not None
    assert (len(grid.rows), len(grid.columns)) == (rows, columns)
    assert all(before[1] == after[0] for before, after in zip(grid.rows, grid.rows[1:], strict=False))


def test_a_second_line_in_a_cell_is_no_row():
    boxes = texts(4, 3, pitch=80)
    boxes += [Box(0, 80 * r + 22, 60, 80 * r + 42) for r in (1, 2)]
    grid = text_grid(boxes, 400, 400)
    assert grid is not None
    assert len(grid.rows) == 4


def test_a_text_over_two_columns_takes_both():
    boxes = [Box(100, 0, 245, 20), *(box for box in texts(5, 3) if box.y0 >= 40)]
    grid = text_grid(boxes, 400, 400)
    assert grid is not None
    assert Place(0, 1, 1, 2) in grid.cells


def test_one_row_or_one_column_is_no_table():
    assert text_grid(texts(1, 5), 600, 100) is None
    assert text_grid(texts(5, 1), 600, 600) is None


def test_a_picture_without_anything_has_no_parts():
    blank = np.full((60, 60, 3), 255, np.uint8)
    assert table_structure(blank, Structure((), 0.0), []) == []


@pytest.mark.parametrize("turn", [0.0, 0.02])
def test_parts_have_the_labels_of_the_contract_and_lie_in_the_picture(turn):
    cos, sin = np.cos(turn), np.sin(turn)
    spin = np.array([(cos, sin), (-sin, cos)])
    points = [(box.points @ spin + (20, 20)).astype(np.float32) for box in texts(4, 3)]
    found = table_structure(np.full((300, 400, 3), 255, np.uint8), Structure((), 0.0), points)
    assert {region.label for region in found} <= {*LABELS}
    assert _count(found, "row") == 4
    assert _count(found, "column") == 3
    assert _count(found, "cell") == 12
    assert all(0 <= r.box.x0 < r.box.x1 <= 400 and 0 <= r.box.y0 < r.box.y1 <= 300 for r in found)


def _count(found: list[Region], label: str) -> int:
    return sum(region.label == label for region in found)
