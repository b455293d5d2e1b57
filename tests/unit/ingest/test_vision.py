"""The vision service's answers, as the contract words them, become what was seen."""

from __future__ import annotations

import asyncio
import io
import json
import math

import httpx
import pytest
from PIL import Image

from ullage.clients.vision import VisionClient
from ullage.errors import DocumentRefused
from ullage.ingest.vision import LOOKS_AT_ONCE, VisionLook
from ullage.settings import Settings

WIDTH, HEIGHT = 1000, 1400


def page() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (WIDTH, HEIGHT), 255).save(stream, "PNG")
    return stream.getvalue()


def text(said: str, left: float, top: float, right: float, degrees: float = 0.0) -> dict:
    """A line in a picture that is turned about its middle."""
    corners = [(left, top), (right, top), (right, top + 0.02), (left, top + 0.02)]
    angle, points = math.radians(degrees), []
    for x, y in corners:
        dx, dy = (x - 0.5) * WIDTH, (y - 0.5) * HEIGHT
        points.append({"x": (dx * math.cos(angle) - dy * math.sin(angle)) / WIDTH + 0.5,
                       "y": (dx * math.sin(angle) + dy * math.cos(angle)) / HEIGHT + 0.5})
    return {"text_prediction": {"text": said, "confidence": 0.9}, "bounding_box": {"points": points}}


def box(x0: float, y0: float, x1: float, y1: float) -> dict:
    return {"x_min": x0, "y_min": y0, "x_max": x1, "y_max": y1, "confidence": 0.9}


def look(answers: dict[str, object], status: int = 200) -> VisionLook:
    def answer(request: httpx.Request) -> httpx.Response:
        task = request.url.path.rsplit("/", 1)[-1]
        if task not in answers:
            return httpx.Response(404, json={"message": f"{task} is not loaded"})
        count = len(json.loads(request.content)["input"])
        return httpx.Response(status, json={"data": [{"index": n, **answers[task]} for n in range(count)]})

    return VisionLook(VisionClient("http://vision", timeout_s=2, transport=httpx.MockTransport(answer)))


@pytest.mark.parametrize("degrees", [0.0, 2.0, -2.0])
async def test_lines_are_level_again(degrees: float) -> None:
    eye = look({"ocr": {"text_detections": [
        text("a first line of words", 0.1, 0.2, 0.9, degrees), text("a second line of words", 0.1, 0.23, 0.9, degrees),
    ]}})
    seen = await eye.read_page(page())
    for line, top in zip(seen.lines, (0.2, 0.23), strict=True):
        assert line.box == pytest.approx((0.1, top, 0.9, top + 0.02), abs=0.002)
    assert (seen.tables, seen.charts) == ((), ())
    await eye.close()


async def test_few_pages_are_looked_at_at_once() -> None:
    now, most = 0, 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return httpx.Response(200, json={"data": [{"index": 0, "text_detections": []}]})

    eye = VisionLook(VisionClient("http://vision", timeout_s=5, transport=httpx.MockTransport(answer)))
    seen = await asyncio.gather(*(eye.read_page(page()) for _ in range(3 * LOOKS_AT_ONCE)))
    await eye.close()
    assert (len(seen), most) == (3 * LOOKS_AT_ONCE, LOOKS_AT_ONCE)


async def test_a_table_a_chart_and_a_footer() -> None:
    eye = look({
        "ocr": {"text_detections": [
            text("Pump", 0.12, 0.21, 0.2), text("Flow rate", 0.55, 0.21, 0.7), text("P-1", 0.12, 0.26, 0.2),
            text("Water", 0.3, 0.51, 0.4), text("Jan", 0.2, 0.6, 0.25), text("seven", 0.6, 0.55, 0.7),
            text("page 3", 0.5, 0.96, 0.6), text("the text", 0.1, 0.8, 0.4),
        ]},
        "page-elements": {"bounding_boxes": {
            "table": [box(0.1, 0.2, 0.9, 0.3), box(0.1, 0.2, 0.89, 0.3)], "chart": [box(0.1, 0.5, 0.9, 0.7)],
            "header_footer": [box(0.4, 0.95, 0.7, 1.0)],
        }},
        "table-structure": {"bounding_boxes": {
            "row": [box(0, 0, 1, 0.45), box(0, 0.5, 1, 1)], "column": [box(0, 0, 0.5, 1), box(0.5, 0, 1, 1)],
        }},
        "graphic-elements": {"bounding_boxes": {
            "chart_title": [box(0.2, 0, 0.5, 0.2)], "xlabel": [box(0.1, 0.4, 0.3, 0.7)],
        }},
    })
    seen = await eye.read_page(page())
    [table] = seen.tables
    assert table.cells == (("Pump", "Flow rate"), ("P-1", ""))
    [chart] = seen.charts
    assert chart.text == "Water\nX labels: Jan\nseven"
    assert "page 3" not in [line.text for line in seen.lines]
    await eye.close()


async def test_a_picture_that_the_service_refuses_is_the_documents_fault() -> None:
    eye = look({"ocr": {}}, status=422)
    with pytest.raises(DocumentRefused, match="a picture of it was refused: vision at http://vision"):
        await eye.read_page(page())
    await eye.close()


async def test_vision_is_there_only_where_it_is_set() -> None:
    assert VisionLook.of(Settings()) is None
    for changes in ({"enable_vision": True}, {"vision_url": "http://127.0.0.1:9"}):
        eye = VisionLook.of(Settings.model_validate(changes))
        assert eye is not None
        await eye.close()
