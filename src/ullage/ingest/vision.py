"""Looks at pictures through the vision service: text by OCR, tables by layout and structure, charts by their parts."""

from __future__ import annotations

import asyncio
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from PIL import Image

from ullage.clients.vision import Detection, Region, Text, VisionClient
from ullage.errors import DocumentRefused, InvalidRequest, TooLarge, UnknownModel
from ullage.ingest.caption import Captions
from ullage.ingest.document import Box
from ullage.ingest.look import Seen, SeenChart, SeenLine, SeenTable
from ullage.settings import Settings

LEAST_CONFIDENCE = 0.3
"""Of a region of the page."""

STRAIGHT_DEGREES = 0.25
"""A skew below this moves the end of a line by less than half its height."""

MOST_DEGREES = 15.0
CROP_SIDE = 1280
"""Longest side in pixels of a table or chart whose parts are asked for: their text has been read already."""

LOOKS_AT_ONCE = 3
"""Pages that are looked at beside each other. A call holds a page's picture several times over, and the service looks
at one after the other anyway; what waits here has its picture once."""

TOUCH = 0.01
"""Share of a picture by which rows or columns may miss each other and still be one."""

ROLES = (
    ("chart_title", ""),
    ("y_title", "Y axis"),
    ("x_title", "X axis"),
    ("legend_title", "Legend"),
    ("legend_label", "Series"),
    ("xlabel", "X labels"),
    ("ylabel", "Y labels"),
    ("value_label", "Values"),
    ("mark_label", "Marks"),
)
"""Parts of a chart in the order in which they are told, and how; all else on it comes last."""


class VisionLook:
    """`read_page` raises DependencyDown when the service or the model that describes charts does not answer,
    DocumentRefused when the service refuses a picture."""

    def __init__(self, client: VisionClient, captions: Captions | None = None) -> None:
        self._client = client
        self._captions = captions
        self._turns = asyncio.Semaphore(LOOKS_AT_ONCE)

    @classmethod
    def of(cls, settings: Settings) -> VisionLook | None:
        """None where no vision service is part of the stack."""
        if not (settings.vision_url or settings.enable_vision):
            return None
        return cls(VisionClient(settings.url("vision"), timeout_s=settings.request_timeout_s), Captions.of(settings))

    async def close(self) -> None:
        await self._client.close()
        if self._captions is not None:
            await self._captions.close()

    async def read_page(self, png: bytes) -> Seen:
        """Lines, tables and charts, as they would stand without the picture's skew."""
        try:
            async with self._turns:
                return await self._read(png)
        except (InvalidRequest, TooLarge) as error:
            raise DocumentRefused(f"a picture of it was refused: {error.message}") from None

    async def _read(self, png: bytes) -> Seen:
        texts = (await self._client.read([png], "sentence"))[0]
        if not texts:
            return Seen()
        picture = await asyncio.to_thread(_Picture.straight, png, texts)
        [found] = await self._detect("page-elements", [picture.png])
        regions = [one for one in found if one.confidence >= LEAST_CONFIDENCE]
        furniture = [_box(one) for one in regions if one.label == "header_footer"]
        lines = tuple(line for line in picture.lines if not any(_holds(box, line.box) for box in furniture))
        tables = await self._tables(picture, _apart([one for one in regions if one.label == "table"]), lines)
        charts = await self._charts(picture, _apart([one for one in regions if one.label == "chart"]), lines)
        return Seen(lines, tables, charts)

    async def _detect(self, task: Detection, pictures: Sequence[bytes]) -> list[list[Region]]:
        """Nothing where the service does not do this task (`vision_tasks`): text is read all the same."""
        try:
            return await self._client.detect(task, pictures)
        except UnknownModel:
            return [[] for _ in pictures]

    async def _tables(
        self, picture: _Picture, boxes: Sequence[Box], lines: Sequence[SeenLine]
    ) -> tuple[SeenTable, ...]:
        if not boxes:
            return ()
        found = await self._detect("table-structure", await asyncio.to_thread(picture.crops, boxes))
        tables = [_table(box, regions, lines) for box, regions in zip(boxes, found, strict=True)]
        return tuple(table for table in tables if table is not None)

    async def _charts(
        self, picture: _Picture, boxes: Sequence[Box], lines: Sequence[SeenLine]
    ) -> tuple[SeenChart, ...]:
        if not boxes:
            return ()
        crops = await asyncio.to_thread(picture.crops, boxes)
        found = await self._detect("graphic-elements", crops)
        told = [_told(box, regions, lines) for box, regions in zip(boxes, found, strict=True)]
        if self._captions is not None:
            said = [await self._captions.of_chart(crop) for crop in crops]
            told = ["\n".join(filter(None, both)) for both in zip(told, said, strict=True)]
        return tuple(SeenChart(text, box) for text, box in zip(told, boxes, strict=True))


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture turned so that its lines are level, and the lines on it."""

    png: bytes
    lines: tuple[SeenLine, ...]

    @classmethod
    def straight(cls, png: bytes, texts: Sequence[Text]) -> _Picture:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as image:
            width, height = image.size
            degrees = _skew(texts, width, height)
            if degrees:
                stream = io.BytesIO()
                white = 255 if image.mode == "L" else "white"
                turned = image.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=white)
                turned.save(stream, "PNG", compress_level=1)
                png = stream.getvalue()
        return cls(png, tuple(_level(text, math.radians(degrees), width, height) for text in texts))

    def crops(self, boxes: Sequence[Box]) -> list[bytes]:
        made = []
        with Image.open(io.BytesIO(self.png), formats=("PNG",)) as image:
            for left, top, right, bottom in boxes:
                stream = io.BytesIO()
                place = (int(left * image.width), int(top * image.height),
                         max(int(left * image.width) + 1, round(right * image.width)),
                         max(int(top * image.height) + 1, round(bottom * image.height)))
                crop = image.crop(place)
                crop.thumbnail((CROP_SIDE, CROP_SIDE))
                crop.save(stream, "PNG", compress_level=1)
                made.append(stream.getvalue())
        return made


def _skew(texts: Sequence[Text], width: int, height: int) -> float:
    """Degrees by which the lines fall to the right, by the longer half of them; 0 for a level picture."""
    edges = [((b[0] - a[0]) * width, (b[1] - a[1]) * height) for a, b, *_ in (text.corners for text in texts)]
    long = sorted(edges, key=lambda edge: -abs(edge[0]))[: max(1, len(edges) // 2)]
    degrees = median(math.degrees(math.atan2(y, x)) for x, y in long)
    return degrees if STRAIGHT_DEGREES < abs(degrees) < MOST_DEGREES else 0.0


def _level(text: Text, angle: float, width: int, height: int) -> SeenLine:
    """A line as it stands once the picture is turned back about its middle."""
    points = [(x * width - width / 2, y * height - height / 2) for x, y in text.corners]
    cos, sin = math.cos(angle), math.sin(angle)
    turned = [((x * cos + y * sin) / width + 0.5, (y * cos - x * sin) / height + 0.5) for x, y in points]
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = turned[:4]
    box = (min(x0, x3), min(y0 + y1, y2 + y3) / 2, max(x1, x2), max(y0 + y1, y2 + y3) / 2)
    return SeenLine(text.text, box, text.confidence)


def _box(region: Region) -> Box:
    return (region.x0, region.y0, region.x1, region.y1)


def _holds(box: Box, inner: Box) -> bool:
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]


def _apart(regions: Sequence[Region]) -> list[Box]:
    """Boxes, the surest first, without those that lie on one before."""
    kept: list[Box] = []
    for region in sorted(regions, key=lambda region: -region.confidence):
        box = _box(region)
        if not any(_holds(other, box) or _holds(box, other) for other in kept):
            kept.append(box)
    return kept


def _table(box: Box, regions: Sequence[Region], lines: Sequence[SeenLine]) -> SeenTable | None:
    """Cells where rows and columns cross, filled with the words whose middle lies there."""
    placed = [_within(box, region) for region in regions]
    rows = _bands([(b[1], b[3]) for r, b in zip(regions, placed, strict=True) if r.label == "row"])
    columns = _bands([(b[0], b[2]) for r, b in zip(regions, placed, strict=True) if r.label == "column"])
    if len(rows) < 2 or len(columns) < 2:
        return None
    cells: list[list[list[str]]] = [[[] for _ in columns] for _ in rows]
    for line in lines:
        if _holds(box, line.box):
            for word, x, y in _words(line):
                cells[_nearest(rows, y)][_nearest(columns, x)].append(word)
    filled = [tuple(" ".join(cell) for cell in row) for row in cells]
    return SeenTable(tuple(row for row in filled if any(row)), box)


def _within(box: Box, region: Region) -> Box:
    wide, high = box[2] - box[0], box[3] - box[1]
    return (box[0] + region.x0 * wide, box[1] + region.y0 * high, box[0] + region.x1 * wide, box[1] + region.y1 * high)


def _bands(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans in order; two whose middles all but agree are one."""
    kept: list[tuple[float, float]] = []
    for span in sorted(spans, key=sum):
        if not kept or (span[0] + span[1] - kept[-1][0] - kept[-1][1]) / 2 > TOUCH / 2:
            kept.append(span)
    return kept


def _nearest(bands: Sequence[tuple[float, float]], at: float) -> int:
    return min(range(len(bands)), key=lambda n: max(bands[n][0] - at, at - bands[n][1]))


def _words(line: SeenLine) -> list[tuple[str, float, float]]:
    """Words with their middles; each has its share of the line's width."""
    left, top, right, bottom = line.box
    words = line.text.split()
    step = (right - left) / max(1, len(line.text.strip()))
    found, at = [], left
    for word in words:
        found.append((word, at + step * len(word) / 2, (top + bottom) / 2))
        at += step * (len(word) + 1)
    return found


def _told(box: Box, regions: Sequence[Region], lines: Sequence[SeenLine]) -> str:
    """What a chart says, part by part."""
    parts: dict[str, list[str]] = {}
    for line in lines:
        if not _holds(box, line.box):
            continue
        around = [region for region in regions if _holds(_within(box, region), line.box)]
        label = min(around, key=lambda one: (one.x1 - one.x0) * (one.y1 - one.y0)).label if around else "other"
        parts.setdefault(label, []).append(line.text)
    told = [f"{name}: {', '.join(parts.pop(label))}" if name else " ".join(parts.pop(label))
            for label, name in ROLES if label in parts]
    return "\n".join([*told, *(", ".join(rest) for rest in parts.values())])
