"""What a picture on a page is: a chart, a drawing with words, or a photograph. By its lines, colours and text boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from ullage.engines.vision.image import Pixels
from ullage.engines.vision.shapes import Box

Kind = Literal["chart", "infographic", "photograph"]
Mask = npt.NDArray[np.uint8]

WORK_SIDE = 640
"""Pixels of the longer side at which a picture is judged."""

AXIS = 0.4
"""Share of a picture's side that a straight line covers to be an axis, or a grid line."""

FLAT = 0.6
"""Share of pixels in the sixteen commonest colours from which a picture was drawn and not photographed."""

ROUND = 0.75
"""4 pi area / perimeter^2 of a pie; that of a square is 0.785, so a pie must not fill its box either."""


def kind_of(picture: Pixels, texts: Sequence[Box]) -> Kind:
    """`texts` are the text boxes inside, in pixels of the picture."""
    scale = min(1.0, WORK_SIDE / max(picture.shape[:2]))
    small: Pixels = np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    height, width = small.shape[:2]
    if min(height, width) < 40:
        return "photograph"
    ink = ink_of(small)
    across, along = straight_lines(ink, width, horizontal=True), straight_lines(ink, height, horizontal=False)
    rows, columns = _aligned(texts, lambda box: box.centre[1]), _aligned(texts, lambda box: box.centre[0])
    if (across and along and len(texts) >= 3) or (rows >= 3 and columns >= 3 and (across or along)):
        return "chart"
    if _drawn(small) < FLAT:
        return "photograph"
    if 2 <= len(texts) <= 24 and _has_pie(small):
        return "chart"
    return "infographic" if len(texts) >= 3 else "photograph"


def ink_of(picture: Pixels) -> Mask:
    """255 where something is drawn on the commonest colour, which is taken for the ground."""
    grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    ground = int(np.bincount(grey.ravel(), minlength=256).argmax())
    return np.asarray((np.abs(grey.astype(np.int16) - ground) > 24) * 255, np.uint8)


def straight_lines(ink: Mask, side: int, *, horizontal: bool, share: float = AXIS) -> list[tuple[int, int, int]]:
    """(place, from, to) of thin straight lines that cover `share` of `side`."""
    length = max(8, int(side * share))
    kernel = np.ones((1, length) if horizontal else (length, 1), np.uint8)
    found = cv2.morphologyEx(ink, cv2.MORPH_OPEN, kernel)
    count, _, stats, _ = cv2.connectedComponentsWithStats(found)
    lines = []
    for x, y, width, height, _ in stats[1:count]:
        thickness = height if horizontal else width
        if thickness <= max(4, 0.012 * side):
            lines.append((int(y + height // 2), int(x), int(x + width)) if horizontal
                         else (int(x + width // 2), int(y), int(y + height)))
    return lines


def _aligned(texts: Sequence[Box], place: Callable[[Box], float]) -> int:
    """The most text boxes that stand in one row or column."""
    places = np.array([place(box) for box in texts])
    if not len(places):
        return 0
    near = np.median([box.height for box in texts]) / 2
    return int(max((np.abs(places - one) <= near).sum() for one in places))


def _drawn(picture: Pixels) -> float:
    """Share of pixels in the sixteen commonest colours, of 4,096."""
    codes = (picture >> 4).astype(np.int32) @ np.array([256, 16, 1], np.int32)
    counts = np.sort(np.bincount(codes.ravel(), minlength=4096))
    return float(counts[-16:].sum() / counts.sum())


def _has_pie(picture: Pixels) -> bool:
    """Whether one large round patch of colour is there."""
    ink = cv2.morphologyEx(ink_of(picture), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(ink, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for contour in contours:
        area = cv2.contourArea(contour)
        if area < 0.06 * ink.size:
            continue
        hull = cv2.convexHull(contour)
        _, _, width, height = cv2.boundingRect(contour)
        perimeter = cv2.arcLength(hull, True)
        roundness = 4 * np.pi * cv2.contourArea(hull) / perimeter**2
        if roundness > ROUND and 0.7 < area / (width * height) < 0.85 and 0.8 < width / height < 1.25:
            return True
    return False
