"""What is found on a page: regions, lines of text and table cells, in pixels of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float32]
"""[4, 2]: corners as (x, y), from the one where reading begins, clockwise."""


@dataclass(frozen=True, slots=True)
class Box:
    """`x0, y0` is the upper left corner, `x1, y1` the lower right one."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        return max(0.0, self.width) * max(0.0, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def overlap(self, other: Box) -> float:
        """Area of the part that both cover."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0.0, width) * max(0.0, height)

    def inside(self, other: Box) -> float:
        """The share of this box that lies in `other`."""
        return self.overlap(other) / self.area if self.area else 0.0

    def iou(self, other: Box) -> float:
        both = self.overlap(other)
        union = self.area + other.area - both
        return both / union if union else 0.0

    def clipped(self, width: float, height: float) -> Box:
        return Box(min(max(self.x0, 0.0), width), min(max(self.y0, 0.0), height),
                   min(max(self.x1, 0.0), width), min(max(self.y1, 0.0), height))

    def around(self, other: Box) -> Box:
        """The smallest box that holds both."""
        return Box(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    @property
    def points(self) -> Points:
        return np.array([(self.x0, self.y0), (self.x1, self.y0), (self.x1, self.y1), (self.x0, self.y1)], np.float32)


def around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all of at least one."""
    return Box(min(b.x0 for b in boxes), min(b.y0 for b in boxes), max(b.x1 for b in boxes), max(b.y1 for b in boxes))


def box_of(points: Points) -> Box:
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return Box(float(x0), float(y0), float(x1), float(y1))


@dataclass(frozen=True, slots=True)
class Region:
    """`score` is in 0..1."""

    label: str
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text. `words` are its parts between blanks, each a line too; empty where they were not asked for."""

    points: Points
    text: str
    score: float
    words: tuple[Line, ...] = field(default=())

    @property
    def box(self) -> Box:
        return box_of(self.points)

    @property
    def height(self) -> float:
        """Of the letters, also where the line is skewed or upright."""
        first, second, _, fourth = self.points
        return float(min(np.linalg.norm(fourth - first), np.linalg.norm(second - first)))
