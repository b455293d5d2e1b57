"""What stands in a line of text: PP-OCR's recogniser (connectionist temporal classification), a line at a time.

Lines of one batch must be padded to the longest, which changes what the network sees of the others. On two cores six
lines together took longer than one after the other (0.42 s against 0.34 s at 320 pixels), so a line always runs alone
and reads the same whatever stands beside it.
"""

from __future__ import annotations

import cv2
import numpy as np

from ullage.engines.vision.image import Pixels
from ullage.engines.vision.session import Float32, Session
from ullage.engines.vision.shapes import Line, Points
from ullage.errors import ModelCorrupt

HEIGHT = 48
"""Pixels that a line is scaled to."""

TALL = 1.5

Span = tuple[str, float, float, float]
"""A word, where it begins and ends as shares of its line, and its mean probability."""

LEAST_WIDTH = 16
BLANK = 0


class Recogniser:
    """`max_width` bounds the network's input: a longer line is read in parts."""

    def __init__(self, session: Session, *, max_width: int) -> None:
        self._session = session
        self._max_width = max_width
        self._letters = ["", *session.about.get("character", "").splitlines(), " "]
        if len(self._letters) < 3:
            raise ModelCorrupt("the text recogniser carries no alphabet: its file is not the one we know")

    def read(self, image: Pixels, points: Points, *, upright: bool = False, words: bool = False) -> Line:
        """The text inside a quadrilateral; `upright` text runs up the page. Raises OutOfMemory or EngineFailed."""
        strip = cut_out(image, points, upright)
        texts: list[tuple[str, float, list[Span]]] = []
        for start, part in _parts(strip, self._max_width):
            texts.append(self._read_strip(part, start, strip.shape[1]))
        text = " ".join(text for text, _, _ in texts if text)
        weights = [max(1, len(text)) for text, _, _ in texts]
        score = float(np.average([score for _, score, _ in texts], weights=weights))
        spans = [span for _, _, found in texts for span in found]
        inner = tuple(Line(_between(points, a, b, upright), word, s) for word, a, b, s in spans) if words else ()
        return Line(points, text, score, inner)

    def largest(self) -> Float32:
        return np.zeros((1, 3, HEIGHT, self._max_width), np.float32)

    def _read_strip(self, strip: Pixels, start: int, whole: int) -> tuple[str, float, list[Span]]:
        """Text, mean probability and words of a strip that begins at pixel `start` of a line `whole` pixels long."""
        [found] = self._session.run(_normal(strip))
        steps = found[0]
        best = steps.argmax(axis=1)
        kept = np.flatnonzero((best != BLANK) & (best != np.concatenate([[-1], best[:-1]])))
        chances = steps[kept, best[kept]]
        letters = [self._letters[index] if index < len(self._letters) else "" for index in best[kept]]
        text = "".join(letters)
        score = float(chances.mean()) if len(kept) else 0.0
        step = strip.shape[1] / len(steps) / whole
        places = np.asarray(start / whole + (kept + 0.5) * step, np.float32)
        return " ".join(text.split()), score, _words(letters, places, chances, step)


def _words(letters: list[str], places: Float32, chances: Float32, step: float) -> list[Span]:
    found: list[Span] = []
    start = 0
    for index in range(len(letters) + 1):
        if index < len(letters) and letters[index].strip():
            continue
        if index > start:
            left = 0.0 if start == 0 and places[0] < 4 * step else max(0.0, float(places[start]) - step)
            right = 1.0 if places[index - 1] > 1 - 4 * step else min(1.0, float(places[index - 1]) + step)
            found.append(("".join(letters[start:index]), left, right, float(chances[start:index].mean())))
        start = index + 1
    return found


def _between(points: Points, start: float, end: float, upright: bool) -> Points:
    """The part of a line's quadrilateral from share `start` to `end` of its length."""
    if upright:  # reading begins at the lower left corner
        points = np.roll(points, 1, axis=0)
    left, right = points[[0, 3]], points[[1, 2]]
    return np.array([left[0] + (right[0] - left[0]) * start, left[0] + (right[0] - left[0]) * end,
                     left[1] + (right[1] - left[1]) * end, left[1] + (right[1] - left[1]) * start], np.float32)


def is_tall(points: Points) -> bool:
    """Whether a line of this shape runs up or down the page, or is a single letter."""
    return float(np.linalg.norm(points[3] - points[0])) >= TALL * float(np.linalg.norm(points[1] - points[0]))


def cut_out(image: Pixels, points: Points, upright: bool) -> Pixels:
    """The quadrilateral, made straight; `upright` text is laid down."""
    width = max(1, round(max(np.linalg.norm(points[1] - points[0]), np.linalg.norm(points[2] - points[3]))))
    height = max(1, round(max(np.linalg.norm(points[3] - points[0]), np.linalg.norm(points[2] - points[1]))))
    target = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    turned = cv2.getPerspectiveTransform(np.ascontiguousarray(points, np.float32), target)
    strip = cv2.warpPerspective(image, turned, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(np.rot90(strip, -1)) if upright else np.asarray(strip, np.uint8)


def _parts(strip: Pixels, max_width: int) -> list[tuple[int, Pixels]]:
    """Pieces no longer than the network's input, cut where the ink is thinnest."""
    height, width = strip.shape[:2]
    most = max(1, int(max_width * height / HEIGHT))
    if width <= most:
        return [(0, strip)]
    ink = 255.0 - strip.min(axis=2).mean(axis=0)
    pieces, start = [], 0
    while width - start > most:
        window = slice(start + most * 3 // 4, start + most)
        cut = window.start + int(np.argmin(ink[window])) + 1
        pieces.append((start, strip[:, start:cut]))
        start = cut
    return [*pieces, (start, strip[:, start:])]


def _normal(strip: Pixels) -> Float32:
    """[1, 3, 48, w] in -1..1."""
    height, width = strip.shape[:2]
    wide = max(LEAST_WIDTH, round(width * HEIGHT / height))
    smaller = height > HEIGHT
    resized = cv2.resize(strip, (wide, HEIGHT), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    values = resized.transpose(2, 0, 1)[np.newaxis].astype(np.float32)
    values /= 127.5
    values -= 1
    return values
