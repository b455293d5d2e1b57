"""Text of a page: detect, turn the page if it lies on its side or on its head, read.

The packaged classifier of upside-down lines turns lines that stand right (13 % of the letters of a clean page were lost
by it), so it is not used. A page that is turned is found by what reading says: the lines
of an upside-down page read with low probability, and better once turned.
"""

from __future__ import annotations

import numpy as np

from ullage.engines.vision.detect import Detector
from ullage.engines.vision.image import Pixels
from ullage.engines.vision.read import Recogniser, is_tall
from ullage.engines.vision.shapes import Line, Points

DOUBTFUL = 0.85
"""Mean probability of a page's longest lines below which it is tried the other way round. Lines that stand right read
at 0.97 and more, clean or scanned."""

CLEARLY = 0.08
"""By so much the other way round must read better."""

ASKED = 6
"""Lines that are read to tell."""

LEAST_SCORE = 0.5
"""A line that reads worse is no text: edges of pictures, stamps, noise."""

SIDEWAYS = 0.8
"""Share of upright boxes from which a page of at least `LEAST_LINES` lines lies on its side."""

LEAST_LINES = 5
LETTER = 1.5
"""A tall box no longer than this many heights of a line is a letter or a digit, such as 1."""


class Ocr:
    def __init__(self, detector: Detector, recogniser: Recogniser) -> None:
        self._detector = detector
        self._recogniser = recogniser

    def read(self, image: Pixels, *, words: bool = False, turned: bool = True) -> list[Line]:
        """Lines in no order, at their places in `image`. `turned` also tries the page the other ways round.

        Raises OutOfMemory or EngineFailed.
        """
        found = self._detector.find(image)
        quarter = self._quarters(image, found) if turned else 0
        if quarter:
            height, width = image.shape[:2]
            image = np.ascontiguousarray(np.rot90(image, quarter))
            found = [_reordered(_turn(points, quarter, width, height)) for points in found]
            lines = self._lines(image, found, words)
            back = image.shape[1], image.shape[0]
            return [_turned_line(line, -quarter % 4, *back) for line in lines]
        return self._lines(image, found, words)

    def _lines(self, image: Pixels, found: list[Points], words: bool) -> list[Line]:
        size = _usual_height(found)
        lines = [self._line(image, points, is_tall(points) and _length(points) > LETTER * size, words)
                 for points in found]
        return [line for line in lines if line.text and line.score >= LEAST_SCORE]

    def _line(self, image: Pixels, points: Points, upright: bool, words: bool) -> Line:
        line = self._recogniser.read(image, points, upright=upright, words=words)
        if not upright or line.score >= DOUBTFUL:
            return line
        # Text beside a picture may run downwards too: read from the other end.
        other = self._recogniser.read(image, np.roll(points, 2, axis=0), upright=True, words=words)
        return other if other.score > line.score else line

    def _quarters(self, image: Pixels, found: list[Points]) -> int:
        """By how many quarter turns against the clock the page must be turned to stand right."""
        if not found:
            return 0
        tall = sum(is_tall(points) for points in found)
        sideways = len(found) >= LEAST_LINES and tall > SIDEWAYS * len(found)
        sample = sorted(found, key=lambda points: -float(np.ptp(points, axis=0).max()))
        sample = [points for points in sample if is_tall(points) == sideways][:ASKED]
        if not sample:
            return 0
        if sideways:
            other = [np.roll(points, 2, axis=0) for points in sample]
            return 3 if self._chance(image, sample, True) >= self._chance(image, other, True) else 1
        chance = self._chance(image, sample, False)
        if chance >= DOUBTFUL or len(found) < LEAST_LINES:
            return 0
        return 2 if self._chance(image, [np.roll(p, 2, axis=0) for p in sample], False) > chance + CLEARLY else 0

    def _chance(self, image: Pixels, sample: list[Points], upright: bool) -> float:
        return float(np.mean([self._recogniser.read(image, points, upright=upright).score for points in sample]))


def _usual_height(found: list[Points]) -> float:
    return float(np.median([_length(points, across=True) for points in found])) if found else 0.0


def _length(points: Points, *, across: bool = False) -> float:
    sides = np.linalg.norm(points[1] - points[0]), np.linalg.norm(points[3] - points[0])
    return float(min(sides) if across else max(sides))


def _turn(points: Points, quarters: int, width: int, height: int) -> Points:
    """Places after a picture of `width` x `height` was turned by quarters against the clock."""
    x, y = points[:, 0], points[:, 1]
    turned = {0: (x, y), 1: (y, width - 1 - x), 2: (width - 1 - x, height - 1 - y), 3: (height - 1 - y, x)}[quarters]
    return np.stack(turned, axis=1).astype(np.float32)


def _reordered(points: Points) -> Points:
    """From the upper left corner clockwise, as the detector gives them."""
    first = int(np.argmin(points.sum(axis=1)))
    return np.roll(points, -first, axis=0)


def _turned_line(line: Line, quarters: int, width: int, height: int) -> Line:
    """A line back at its place in the picture; the first corner stays where reading begins."""
    words = tuple(_turned_line(word, quarters, width, height) for word in line.words)
    return Line(_turn(line.points, quarters, width, height), line.text, line.score, words)
