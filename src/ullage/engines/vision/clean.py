"""A scan without its grain, for what looks at shapes; text is read from the picture as it came."""

from __future__ import annotations

import cv2
import numpy as np

from ullage.engines.vision.image import Pixels

EVEN = 4.0
"""Spread of the grey of the ground, in steps of 255, up to which a picture is taken as drawn."""

NEAR = 60
"""Greys this far from the commonest one belong to the ground."""


def cleaned(image: Pixels) -> Pixels:
    """The same picture when its ground is even; else specks removed and the ground made white."""
    ground, spread = _ground(image)
    if spread < EVEN:
        return image
    smooth = np.asarray(cv2.medianBlur(image, 3), np.uint8)
    ground, spread = _ground(smooth)
    white = max(1.0, ground - 2.5 * spread)
    levels = np.minimum(255, np.arange(256) * 255 / white).astype(np.uint8)
    return np.asarray(cv2.LUT(smooth, levels, dst=smooth), np.uint8)


def _ground(image: Pixels) -> tuple[int, float]:
    """The commonest grey and how far the greys around it spread, from every third pixel."""
    grey = cv2.cvtColor(np.ascontiguousarray(image[::3, ::3]), cv2.COLOR_BGR2GRAY)
    ground = int(np.bincount(np.asarray(grey).ravel(), minlength=256).argmax())
    near = grey[np.abs(grey.astype(np.int16) - ground) < NEAR]
    return ground, float(near.std())
