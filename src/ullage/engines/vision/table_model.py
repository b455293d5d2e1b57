"""The structure of a table: SLANet-plus, which writes it as HTML tokens with a quadrilateral for every cell."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ullage.engines.vision.image import Pixels
from ullage.engines.vision.layout import MEAN, SPREAD
from ullage.engines.vision.session import Float32, Session
from ullage.engines.vision.shapes import Box, box_of
from ullage.errors import ModelCorrupt

SIDE = 488
"""Pixels that the longer side of a table is scaled to."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell from row and column (both from 0), over `rows` x `columns` of them."""

    row: int
    column: int
    rows: int
    columns: int
    box: Box
    header: bool


@dataclass(frozen=True, slots=True)
class Structure:
    """`score` is the mean probability of the tokens."""

    cells: tuple[Cell, ...]
    score: float

    @property
    def rows(self) -> int:
        return max((cell.row + cell.rows for cell in self.cells), default=0)

    @property
    def columns(self) -> int:
        return max((cell.column + cell.columns for cell in self.cells), default=0)


class TableModel:
    def __init__(self, session: Session) -> None:
        self._session = session
        tokens = session.about.get("character", "").splitlines()
        if "<td></td>" not in tokens:
            raise ModelCorrupt("the table model carries no tokens: its file is not the one we know")
        self._tokens = ["sos", *tokens, "eos"]

    def read(self, image: Pixels) -> Structure:
        """Raises OutOfMemory or EngineFailed."""
        height, width = image.shape[:2]
        # Quadrilaterals are shares of the padded square.
        longer = max(height, width)
        quadrilaterals, chances = self._session.run(_normal(image))
        best = chances[0].argmax(axis=1)
        tokens: list[tuple[str, Box | None]] = []
        scores = []
        for step, index in enumerate(best):
            tag = self._tokens[index]
            if tag == "eos" and step:
                break
            if tag in ("sos", "eos"):
                continue
            scores.append(float(chances[0, step, index]))
            points = quadrilaterals[0, step].reshape(4, 2) * longer
            tokens.append((tag, box_of(points).clipped(width, height) if tag.startswith("<td") else None))
        return Structure(tuple(_cells(tokens)), float(np.mean(scores)) if scores else 0.0)

    def largest(self) -> Float32:
        return np.zeros((1, 3, SIDE, SIDE), np.float32)


def _normal(image: Pixels) -> Float32:
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    inner = (max(1, int(width * scale)), max(1, int(height * scale)))
    resized = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    values = np.zeros((1, 3, SIDE, SIDE), np.float32)
    values[0, :, : inner[1], : inner[0]] = ((resized.astype(np.float32) / 255 - MEAN) / SPREAD).transpose(2, 0, 1)
    return values


def _cells(tokens: list[tuple[str, Box | None]]) -> list[Cell]:
    """Cells at the place in the grid that their order and spans give them."""
    found: list[Cell] = []
    taken: set[tuple[int, int]] = set()
    row, column, header = -1, 0, False
    for place, (tag, box) in enumerate(tokens):
        if tag in ("<thead>", "</thead>"):
            header = tag == "<thead>"
        elif tag == "<tr>":
            row, column = row + 1, 0
        elif box is not None:
            row = max(row, 0)
            while (row, column) in taken:
                column += 1
            columns, rows = _spans([text for text, _ in tokens[place + 1 : place + 4]] if tag == "<td" else [])
            taken |= {(row + down, column + along) for down in range(rows) for along in range(columns)}
            found.append(Cell(row, column, rows, columns, box, header))
            column += columns
    return found


def _spans(following: list[str]) -> tuple[int, int]:
    """Columns and rows from the attributes up to the tag's end."""
    columns = rows = 1
    for token in following:
        name, _, value = token.strip().partition("=")
        if name not in ("colspan", "rowspan"):
            break
        number = int(value.strip('"'))
        columns, rows = (number, rows) if name == "colspan" else (columns, number)
    return columns, rows
