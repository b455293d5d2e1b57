"""Pictures to what they show, by the vision service."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from ullage.clients.base import ModelClient
from ullage.errors import DependencyDown, InvalidRequest

Detection = Literal["page-elements", "graphic-elements", "table-structure"]
Level = Literal["word", "sentence", "paragraph"]

PICTURES_PER_CALL = 8
"""As the NIMs' own clients send; a request of more would keep others waiting longer."""

KINDS = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"))


@dataclass(frozen=True, slots=True)
class Region:
    """`x0, y0` to `x1, y1` are shares of the picture's width and height, from its upper left corner."""

    label: str
    x0: float
    y0: float
    x1: float
    y1: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Text:
    """`corners` are four (x, y), shares of the picture, from the one where reading begins, clockwise."""

    text: str
    corners: tuple[tuple[float, float], ...]
    confidence: float


class VisionClient(ModelClient):
    """The 2.x routes of the vision NIMs or of ours; `base_url` is that of a service that has them. Errors: see
    ModelClient. PNG and JPEG are sent as they are; any other bytes are refused here."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_s: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, role="vision", model=None, timeout_s=timeout_s, transport=transport)

    async def detect(self, task: Detection, pictures: Sequence[bytes]) -> list[list[Region]]:
        """Regions of each picture, in their order."""
        found: list[list[Region]] = []
        for few in _few(pictures):
            answer = await self.call("POST", f"/v1/{task}", {"input": [_input(picture) for picture in few]})
            found += self._items(answer, len(few), _regions)
        return found

    async def read(self, pictures: Sequence[bytes], level: Level = "paragraph") -> list[list[Text]]:
        """Texts of each picture, in reading order."""
        found: list[list[Text]] = []
        for few in _few(pictures):
            body = {"input": [_input(picture) for picture in few], "merge_levels": [level] * len(few)}
            found += self._items(await self.call("POST", "/v1/ocr", body), len(few), _texts)
        return found

    def _items(self, answer: Any, count: int, read: Any) -> list[Any]:
        try:
            items = sorted(answer["data"], key=lambda item: int(item["index"]))
            if [int(item["index"]) for item in items] != list(range(count)):
                raise ValueError(f"{len(items)} entries")
            return [read(item) for item in items]
        except (KeyError, TypeError, ValueError) as error:
            raise DependencyDown(
                f"vision at {self.base_url} answered with a body that does not describe {count} pictures ({error}): "
                "check that vision_url is that of a vision service"
            ) from None


def _few(pictures: Sequence[bytes]) -> list[Sequence[bytes]]:
    return [pictures[at : at + PICTURES_PER_CALL] for at in range(0, len(pictures), PICTURES_PER_CALL)]


def _input(picture: bytes) -> dict[str, str]:
    for head, kind in KINDS:
        if picture.startswith(head):
            return {"type": "image_url", "url": f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"}
    raise InvalidRequest(f"{len(picture)} bytes are no PNG or JPEG: convert the picture before it is sent")


def _regions(item: Any) -> list[Region]:
    return [Region(str(label), float(box["x_min"]), float(box["y_min"]), float(box["x_max"]), float(box["y_max"]),
                   float(box["confidence"])) for label, boxes in item["bounding_boxes"].items() for box in boxes]


def _texts(item: Any) -> list[Text]:
    return [Text(str(one["text_prediction"]["text"]),
                 tuple((float(point["x"]), float(point["y"])) for point in one["bounding_box"]["points"]),
                 float(one["text_prediction"]["confidence"])) for one in item["text_detections"]]
