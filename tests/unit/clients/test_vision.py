"""The vision client against services that answer well, late, wrong and not at all."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from ullage.clients.vision import PICTURES_PER_CALL, Region, VisionClient
from ullage.errors import DependencyDown, InvalidRequest, TooLarge

PNG = b"\x89PNG\r\n\x1a\n rest"
JPEG = b"\xff\xd8\xff rest"
BOX = {"x_min": 0.1, "y_min": 0.2, "x_max": 0.3, "y_max": 0.4, "confidence": 0.9}


def client(app: FastAPI, **options) -> VisionClient:
    return VisionClient("http://vision", transport=httpx.ASGITransport(app), **options)


def answering(item, status: int = 200) -> tuple[FastAPI, list[dict]]:
    """A service that says `item` of every picture, and what it was sent."""
    app, seen = FastAPI(), []

    @app.post("/v1/{task}")
    async def infer(request: Request):
        body = await request.json()
        seen.append(body)
        data = [{"index": index, **item} for index in range(len(body["input"]))]
        return JSONResponse({"data": data[::-1]} if status == 200 else item, status)

    return app, seen


async def test_regions_of_many_pictures_come_in_few_requests():
    app, seen = answering({"bounding_boxes": {"table": [BOX], "chart": []}})
    vision = client(app)
    found = await vision.detect("page-elements", [PNG] * 10 + [JPEG])
    assert found == [[Region("table", 0.1, 0.2, 0.3, 0.4, 0.9)]] * 11
    assert [len(body["input"]) for body in seen] == [PICTURES_PER_CALL, 3]
    assert seen[1]["input"][-1]["url"].startswith("data:image/jpeg;base64,")
    await vision.close()


async def test_texts_with_a_level_for_each_picture():
    corners = [{"x": 0.0, "y": 0.0}] * 4
    app, seen = answering({"text_detections": [
        {"text_prediction": {"text": "Pier", "confidence": 0.98}, "bounding_box": {"points": corners}}]})
    vision = client(app)
    [[one], [_]] = await vision.read([PNG, PNG], level="word")
    assert (one.text, one.confidence, one.corners) == ("Pier", 0.98, ((0.0, 0.0),) * 4)
    assert seen[0]["merge_levels"] == ["word", "word"]
    assert await vision.read([]) == []
    await vision.close()


async def test_what_is_no_picture_is_never_sent():
    app, seen = answering({})
    vision = client(app)
    with pytest.raises(InvalidRequest, match="no PNG or JPEG"):
        await vision.detect("table-structure", [b"GIF89a"])
    assert not seen
    await vision.close()


@pytest.mark.parametrize(("item", "status", "error", "said"), [
    ({}, 200, DependencyDown, "does not describe 1 pictures"),
    ({"bounding_boxes": {"table": [{"x_min": "left"}]}}, 200, DependencyDown, "check that vision_url"),
    ({"message": "input.0: too many pixels"}, 413, TooLarge, "too many pixels"),
    ({"message": "input.0: no picture"}, 422, InvalidRequest, "no picture"),
    ({"message": "broken"}, 500, DependencyDown, "failed with status 500"),
])
async def test_faults_become_errors_of_ours(item, status, error, said):
    app, seen = answering(item, status)
    vision = client(app, timeout_s=5)
    with pytest.raises(error, match=said):
        await vision.detect("page-elements", [PNG])
    assert len(seen) == (3 if status == 500 else 1)
    await vision.close()


async def test_a_missing_entry_is_noticed():
    app = FastAPI()
    app.post("/v1/ocr")(lambda: {"data": [{"index": 0, "text_detections": []}]})
    vision = client(app)
    with pytest.raises(DependencyDown, match="1 entries"):
        await vision.read([PNG, PNG])
    await vision.close()
