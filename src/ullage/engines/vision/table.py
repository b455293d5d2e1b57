"""Parts of a table by the labels of the table-structure service: border, cell, row, column, header.

A ruled table is read off its rules and any other off its texts; where both fail the structure model answers alone. Its
count of rows and columns is a second opinion: where it agrees, the score says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ullage.engines.vision.grid import Grid, Place, ruled_grid, text_grid
from ullage.engines.vision.image import Pixels
from ullage.engines.vision.lines import STRAIGHT, skew
from ullage.engines.vision.shapes import Box, Line, Points, Region, around, box_of
from ullage.engines.vision.table_model import Structure

LABELS = ("border", "cell", "row", "column", "header")
AGREED, ALONE = 0.95, 0.75
"""Scores of a grid with as many rows and columns as the model counts, and of one with others."""


@dataclass(frozen=True, slots=True)
class Straight:
    """A picture turned so that its lines of text lie flat, its texts, and the way back."""

    image: Pixels
    texts: tuple[Box, ...]
    angle: float

    def back(self, box: Box) -> Box:
        """A box at its place in the picture as it came: moved, not turned, for boxes lie flat."""
        if not self.angle:
            return box
        x, y = box.centre
        middle_x, middle_y = self.image.shape[1] / 2, self.image.shape[0] / 2
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        away_x = (x - middle_x) * cos - (y - middle_y) * sin + middle_x - x
        away_y = (x - middle_x) * sin + (y - middle_y) * cos + middle_y - y
        return Box(box.x0 + away_x, box.y0 + away_y, box.x1 + away_x, box.y1 + away_y)


def table_structure(image: Pixels, structure: Structure, texts: Sequence[Points]) -> list[Region]:
    """Regions of a picture of one table. `structure` is what the model says, `texts` are all text boxes."""
    height, width = image.shape[:2]
    straight = straightened(image, texts)
    grid = ruled_grid(straight.image) or text_grid(straight.texts, width, height)
    if grid is None:  # on a blank picture the model makes up a table
        return _from_model(structure, width, height) if texts else []
    score = AGREED if (len(grid.rows), len(grid.columns)) == (structure.rows, structure.columns) else ALONE
    head = max((cell.row + cell.rows for cell in structure.cells if cell.header), default=0)
    found = _regions(grid, min(head, len(grid.rows) - 1), score)
    return [Region(one.label, straight.back(one.box).clipped(width, height), one.score) for one in found]


def straightened(image: Pixels, texts: Sequence[Points]) -> Straight:
    angle = skew([Line(points, "", 1.0) for points in texts])
    if abs(angle) < STRAIGHT:
        return Straight(image, tuple(box_of(points) for points in texts), 0.0)
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(np.degrees(angle)), 1)
    ground = [int(v) for v in np.median(image[::7, ::7].reshape(-1, 3), axis=0)]
    turned = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR, borderValue=ground)
    boxes = [box_of(np.asarray(points @ turn[:, :2].T + turn[:, 2], np.float32)) for points in texts]
    return Straight(np.asarray(turned, np.uint8), tuple(boxes), angle)


def _regions(grid: Grid, head: int, score: float) -> list[Region]:
    rows = [grid.box(Place(row, 0, 1, len(grid.columns))) for row in range(len(grid.rows))]
    columns = [grid.box(Place(0, column, len(grid.rows), 1)) for column in range(len(grid.columns))]
    found = [Region("border", around(rows), score)]
    found += [Region("cell", grid.box(cell), score) for cell in grid.cells]
    found += [Region("row", box, score) for box in rows]
    found += [Region("column", box, score) for box in columns]
    return found + [Region("header", box, score) for box in rows[:head]]


def _from_model(structure: Structure, width: int, height: int) -> list[Region]:
    cells = structure.cells
    if not cells:
        return []
    score = structure.score * ALONE
    border = around([cell.box for cell in cells]).clipped(width, height)
    found = [Region("border", border, score), *(Region("cell", cell.box, score) for cell in cells)]
    for row in range(structure.rows):
        if own := [cell.box for cell in cells if (cell.row, cell.rows) == (row, 1)]:
            found.append(Region("row", Box(border.x0, around(own).y0, border.x1, around(own).y1), score))
    for column in range(structure.columns):
        if own := [cell.box for cell in cells if (cell.column, cell.columns) == (column, 1)]:
            found.append(Region("column", Box(around(own).x0, border.y0, around(own).x1, border.y1), score))
    return found + [Region("header", cell.box, score) for cell in cells if cell.header]

