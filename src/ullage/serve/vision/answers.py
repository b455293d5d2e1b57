"""What was found, in the words of the contract: normalised coordinates, origin at the top left."""

from __future__ import annotations

from collections.abc import Sequence

from ullage.engines.vision.engine import Found
from ullage.engines.vision.shapes import Line
from ullage.serve.vision.schema import (
    BoundingBox,
    BoundingPolygon,
    DetectionResponse,
    Detections,
    OcrResponse,
    Point,
    TextDetection,
    TextPrediction,
    Texts,
    Usage,
)

DIGITS = 6
"""A millionth of a side is less than any pixel."""


def detections(found: Sequence[Found], sizes: Sequence[int]) -> DetectionResponse:
    data = [Detections(index=index, bounding_boxes=boxes_of(one)) for index, one in enumerate(found)]
    return DetectionResponse(data=data, usage=_usage(sizes))


def boxes_of(found: Found) -> dict[str, list[BoundingBox]]:
    """Boxes by label, best first."""
    boxes: dict[str, list[BoundingBox]] = {}
    for region in sorted(found.regions, key=lambda region: -region.score):
        box = region.box
        boxes.setdefault(region.label, []).append(BoundingBox(
            x_min=_share(box.x0, found.width), y_min=_share(box.y0, found.height),
            x_max=_share(box.x1, found.width), y_max=_share(box.y1, found.height),
            confidence=round(region.score, 4),
        ))
    return boxes


def texts(found: Sequence[Found], sizes: Sequence[int]) -> OcrResponse:
    data = [Texts(index=index, text_detections=[_detection(line, one) for line in one.lines])
            for index, one in enumerate(found)]
    return OcrResponse(data=data, usage=_usage(sizes))


def corners_of(line: Line, found: Found) -> list[tuple[float, float]]:
    return [(_share(float(x), found.width), _share(float(y), found.height)) for x, y in line.points]


def _detection(line: Line, found: Found) -> TextDetection:
    return TextDetection(
        text_prediction=TextPrediction(text=line.text, confidence=round(line.score, 4)),
        bounding_box=BoundingPolygon(points=[Point(x=x, y=y) for x, y in corners_of(line, found)]),
    )


def _share(value: float, whole: int) -> float:
    return round(min(1.0, max(0.0, value / whole)), DIGITS)


def _usage(sizes: Sequence[int]) -> Usage:
    return Usage(images_size_mb=round(sum(sizes) / 1e6, 6))
