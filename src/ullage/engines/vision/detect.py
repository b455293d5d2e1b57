"""Where text stands on a page: PP-OCR's detector (differentiable binarisation) and the boxes around what it marks."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from ullage.engines.vision.image import Pixels
from ullage.engines.vision.session import Float32, Session
from ullage.engines.vision.shapes import Points

MARKED = 0.3
"""Probability from which a pixel counts as text; this, the next two and the growth are those the weights came with."""

LEAST_SCORE = 0.5
LEAST_SIDE = 3
GROWTH = 1.6
MOST_BOXES = 2000
STEP = 32
"""The network halves five times."""

WANTED_SIDE = 736
"""Small pictures are enlarged to this shorter side, at most twice: letters of 8 pixels are lost otherwise."""


class Detector:
    """`max_pixels` is the largest input of the network: a page is scaled to fit it, which bounds memory and time."""

    def __init__(self, session: Session, *, max_pixels: int) -> None:
        self._session = session
        self._max_pixels = max_pixels

    def find(self, image: Pixels) -> list[Points]:
        """Quadrilaterals around lines of text, in no order. Raises OutOfMemory or EngineFailed."""
        height, width = image.shape[:2]
        scale = self._scale(height, width)
        inner = (max(1, round(height * scale)), max(1, round(width * scale)))
        # What other shapes left in the arena lies in pieces that this one cannot use.
        self._session.run(np.zeros((1, 3, STEP, STEP), np.float32), give_back=True)
        [marked] = self._session.run(_normal(image, inner))
        found = _boxes(marked[0, 0])
        factors = np.array([width / inner[1], height / inner[0]], np.float32)
        limits = np.array([width - 1, height - 1], np.float32)
        scaled = [np.clip(points * factors, 0, limits) for points in found]
        return [points for points in scaled if _short_side(points) > LEAST_SIDE]

    def shrunk(self, share: float) -> Detector:
        """The same network on `share` of the pixels."""
        return Detector(self._session, max_pixels=max(STEP * STEP, int(self._max_pixels * share)))

    def largest(self) -> Float32:
        """An input of the largest shape."""
        side = int(np.sqrt(self._max_pixels)) // STEP * STEP
        return np.zeros((1, 3, side, side), np.float32)

    def _scale(self, height: int, width: int) -> float:
        wanted = min(2.0, max(1.0, WANTED_SIDE / min(height, width)))
        # Padding to whole steps must fit too.
        most = min(np.sqrt(self._max_pixels / (height * width)), 1e9)
        scale = min(wanted, most)
        while _padded(round(height * scale)) * _padded(round(width * scale)) > self._max_pixels:
            scale *= 0.98
        return float(scale)


def _padded(side: int) -> int:
    return max(STEP, -(-side // STEP) * STEP)


def _normal(image: Pixels, inner: tuple[int, int]) -> Float32:
    """[1, 3, h, w] in -1..1, the picture in the upper left corner, the rest white."""
    height, width = inner
    smaller = image.shape[0] > height
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    values = np.ones((1, 3, _padded(height), _padded(width)), np.float32)
    values[0, :, :height, :width] = resized.transpose(2, 0, 1)
    values[0, :, :height, :width] /= 127.5
    values[0, :, :height, :width] -= 1
    return values


def _boxes(marked: Float32) -> list[Points]:
    mask = cv2.dilate((marked > MARKED).astype(np.uint8), np.ones((2, 2), np.uint8))
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    found = []
    for contour in contours[:MOST_BOXES]:
        (x, y), (across, along), angle = cv2.minAreaRect(contour)
        if min(across, along) < LEAST_SIDE:
            continue
        points = _ordered(cv2.boxPoints(((x, y), (across, along), angle)))
        if _score(marked, points) < LEAST_SCORE:
            continue
        # The network marks the core of a line: the box grows by area / perimeter, as it shrank in training.
        grow = across * along * GROWTH / (2 * (across + along))
        found.append(_ordered(cv2.boxPoints(((x, y), (across + 2 * grow, along + 2 * grow), angle))))
    return found


def _score(marked: Float32, points: Points) -> float:
    """Mean probability inside the box."""
    height, width = marked.shape
    x0, y0 = np.clip(np.floor(points.min(axis=0)), 0, [width - 1, height - 1]).astype(int)
    x1, y1 = np.clip(np.ceil(points.max(axis=0)), 0, [width - 1, height - 1]).astype(int)
    mask = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.uint8)
    cv2.fillPoly(mask, [(points - [x0, y0]).astype(np.int32)], (1,))
    return float(cv2.mean(marked[y0 : y1 + 1, x0 : x1 + 1], mask)[0])


def _ordered(corners: npt.ArrayLike) -> Points:
    """From the upper left corner clockwise."""
    points = np.asarray(corners, np.float32)
    by_x = points[np.argsort(points[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    left, right = left[np.argsort(left[:, 1])], right[np.argsort(right[:, 1])]
    return np.array([left[0], right[0], right[1], left[1]], np.float32)


def _short_side(points: Points) -> float:
    return float(min(np.linalg.norm(points[0] - points[1]), np.linalg.norm(points[0] - points[3])))
