"""Which parts a page has: PicoDet as trained on CDLA, one page a run."""

from __future__ import annotations

import cv2
import numpy as np

from ullage.engines.vision.image import Pixels
from ullage.engines.vision.session import Float32, Session
from ullage.engines.vision.shapes import Box, Region
from ullage.errors import ModelCorrupt

INPUT = (800, 608)
"""Height and width of the network's input."""

STRIDES = (8, 16, 32, 64)
LABELS = ("text", "title", "figure", "figure_caption", "table", "table_caption", "header", "footer", "reference",
          "equation")
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
SPREAD = np.array([0.229, 0.224, 0.225], np.float32)
SAME = 0.5
"""Overlap (intersection over union) from which two boxes of one class are one."""


class Layout:
    """Regions of a page by the labels of CDLA."""

    def __init__(self, session: Session) -> None:
        self._session = session
        if session.about.get("character", "").splitlines() != list(LABELS):
            raise ModelCorrupt("the layout model knows other labels than ours: its file is not the one we know")

    def find(self, image: Pixels, *, least: float) -> list[Region]:
        """Regions with a score of at least `least`, best first. Raises OutOfMemory or EngineFailed."""
        outputs = self._session.run(_normal(image))
        scores = np.concatenate([out[0] for out in outputs[: len(STRIDES)]])
        boxes = np.concatenate([_distances(out[0]) * stride for out, stride in
                                zip(outputs[len(STRIDES) :], STRIDES, strict=True)])
        centres = np.concatenate([_centres(stride) for stride in STRIDES])
        corners = np.concatenate([centres - boxes[:, :2], centres + boxes[:, 2:]], axis=1)
        factors = np.array([image.shape[1] / INPUT[1], image.shape[0] / INPUT[0]] * 2, np.float32)
        found = []
        for number, label in enumerate(LABELS):
            chosen = np.flatnonzero(scores[:, number] >= least)
            for index in _best(corners[chosen], scores[chosen, number]):
                box = Box(*map(float, corners[chosen[index]] * factors)).clipped(image.shape[1], image.shape[0])
                if box.area > 0:
                    found.append(Region(label, box, float(scores[chosen[index], number])))
        return sorted(found, key=lambda region: -region.score)

    def largest(self) -> Float32:
        return np.zeros((1, 3, *INPUT), np.float32)


def _normal(image: Pixels) -> Float32:
    smaller = image.shape[0] > INPUT[0] or image.shape[1] > INPUT[1]
    resized = cv2.resize(image, INPUT[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    values = (resized.astype(np.float32) / 255 - MEAN) / SPREAD
    return np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis])


def _distances(spread: Float32) -> Float32:
    """[places, 4 x bins] -> [places, 4]: the expected distance to each side, in strides."""
    bins = spread.reshape(len(spread), 4, -1)
    weights = np.exp(bins - bins.max(axis=2, keepdims=True))
    weights /= weights.sum(axis=2, keepdims=True)
    return np.asarray(weights @ np.arange(bins.shape[2], dtype=np.float32), np.float32)


def _centres(stride: int) -> Float32:
    rows, columns = -(-INPUT[0] // stride), -(-INPUT[1] // stride)
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.asarray((np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * stride, np.float32)


def _best(corners: Float32, scores: Float32) -> list[int]:
    """Indices of boxes that no better one covers."""
    order = [int(i) for i in np.argsort(-scores, kind="stable")[:1000]]
    kept: list[int] = []
    for index in order:
        box = Box(*map(float, corners[index]))
        if all(box.iou(Box(*map(float, corners[other]))) < SAME for other in kept):
            kept.append(index)
            if len(kept) == 100:
                break
    return kept
