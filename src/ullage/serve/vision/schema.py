"""Request and answer of the vision NIMs, the same at 1.x `/v1/infer` and the 2.x routes.

Coordinates are shares of the picture's width and height.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ullage.engines.vision.lines import Level

MAX_IMAGES = 64


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ImageInput(_Strict):
    """`url` is a data URL that holds a PNG or JPEG in base64."""

    type: Literal["image_url"]
    url: str = Field(min_length=1)


class InferRequest(_Strict):
    """`model` may be left out: a port or a path serves one."""

    input: list[ImageInput] = Field(min_length=1, max_length=MAX_IMAGES)
    model: str | None = Field(None, min_length=1, max_length=128)


class OcrRequest(InferRequest):
    """`merge_levels` holds one level for each picture, or one for all; "paragraph" where it is absent."""

    merge_levels: list[Level] | None = None

    @model_validator(mode="after")
    def _one_each(self) -> OcrRequest:
        if self.merge_levels is not None and len(self.merge_levels) not in (1, len(self.input)):
            raise ValueError(f"merge_levels has {len(self.merge_levels)} entries for {len(self.input)} pictures: "
                             "give one for each")
        return self

    @property
    def levels(self) -> list[Level]:
        """One for each picture."""
        given = self.merge_levels or ["paragraph"]
        return list(given) if len(given) == len(self.input) else [given[0]] * len(self.input)


class BoundingBox(BaseModel):
    x_min: float
    y_min: float
    x_max: float
    y_max: float
    confidence: float


class Detections(BaseModel):
    """`bounding_boxes` maps a label to its boxes, best first; a label without any is absent."""

    index: int
    bounding_boxes: dict[str, list[BoundingBox]]


class Usage(BaseModel):
    """`images_size_mb` is that of the files, in millions of bytes."""

    images_size_mb: float


class DetectionResponse(BaseModel):
    data: list[Detections]
    usage: Usage


class Point(BaseModel):
    x: float
    y: float


class BoundingPolygon(BaseModel):
    """Four corners, from the one where reading begins, clockwise. `type` is that of the NIM."""

    type: Literal["quadrilateral"] = "quadrilateral"
    points: list[Point]


class TextPrediction(BaseModel):
    text: str
    confidence: float


class TextDetection(BaseModel):
    text_prediction: TextPrediction
    bounding_box: BoundingPolygon


class Texts(BaseModel):
    """`text_detections` are in reading order."""

    index: int
    text_detections: list[TextDetection]


class OcrResponse(BaseModel):
    data: list[Texts]
    usage: Usage
