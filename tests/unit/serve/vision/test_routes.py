"""The contract over HTTP: answers, labels, coordinates, refusals."""

from __future__ import annotations

import asyncio

import httpx
from PIL import Image

from pictures import LINES, bomb, chart, data_url, infer, page, saved, table
from ullage.serve.vision.schema import MAX_IMAGES

WHOLE = saved(page())
V3 = {"table", "chart", "title", "infographic", "paragraph", "header_footer"}
CHART = {"chart_title", "x_title", "y_title", "xlabel", "ylabel", "other", "legend_label", "legend_title", "mark_label",
         "value_label"}
TABLE = {"border", "cell", "row", "column", "header"}


def boxes_are_shares(item):
    for boxes in item["bounding_boxes"].values():
        for box in boxes:
            assert 0 <= box["x_min"] < box["x_max"] <= 1
            assert 0 <= box["y_min"] < box["y_max"] <= 1
            assert 0 < box["confidence"] <= 1
            assert set(box) == {"x_min", "y_min", "x_max", "y_max", "confidence"}


DETECTIONS = [
    ("/v1/page-elements", page(), V3, set()),
    ("/v1/table-structure", table(), TABLE, {"border", "cell", "row", "column"}),
    ("/v1/graphic-elements", chart(), CHART, {"chart_title", "xlabel", "ylabel"}),
]


async def test_detections(vision, serve):
    blank = saved(Image.new("RGB", (200, 100), "white"))
    async with serve(vision()) as client:
        for path, picture, labels, needed in DETECTIONS:
            answer = await client.post(path, json=infer(saved(picture), blank, saved(picture, "JPEG", quality=95)))
            assert answer.status_code == 200
            body = answer.json()
            assert [item["index"] for item in body["data"]] == [0, 1, 2]
            assert needed <= {*body["data"][0]["bounding_boxes"]} <= labels
            assert body["data"][1]["bounding_boxes"] == {}
            assert body["usage"]["images_size_mb"] > 0
            for item in body["data"]:
                boxes_are_shares(item)
            assert "compute" in answer.headers["Server-Timing"]


WORDS = sum(len(line.split()) for line in LINES)


async def test_ocr_by_merge_level(vision, serve):
    async with serve(vision(vision_tasks="ocr")) as client:
        two = infer(saved(page()), saved(page()), merge_levels=["word", "sentence"])
        answer = await client.post("/v1/ocr", json=two)
        one_for_all = await client.post("/v1/infer", json=infer(saved(table()), merge_levels=["paragraph"]))
        unknown = await client.post("/v1/ocr", json=infer(WHOLE, merge_levels=["line"]))
        many = await client.post("/v1/ocr", json=infer(WHOLE, merge_levels=["word", "word"]))
    assert answer.status_code == one_for_all.status_code == 200
    for item, count, first in zip(answer.json()["data"], (WORDS, len(LINES)), ("Ferry", LINES[0]), strict=True):
        assert len(item["text_detections"]) == count
        one = item["text_detections"][0]
        assert one["text_prediction"]["text"] == first
        assert 0.8 < one["text_prediction"]["confidence"] <= 1
        assert len(one["bounding_box"]["points"]) == 4
        assert all(0 <= point[axis] <= 1 for point in one["bounding_box"]["points"] for axis in "xy")
    assert unknown.status_code == many.status_code == 422
    assert "merge_levels has 2 entries for 1 pictures" in many.json()["message"]


async def test_infer_means_the_task_of_the_port(vision):
    """All four behind one process; the port is that of the socket at which a request came in."""
    app = vision()
    ports = {8000: "page-elements", 8003: "graphic-elements", 8006: "table-structure", 8012: "ocr"}
    async with app.router.lifespan_context(app):
        for port, task in ports.items():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://v:{port}") as client:
                while (ready := await client.get("/v1/health/ready")).status_code != 200:
                    assert ready.status_code == 503
                    await asyncio.sleep(0.01)
                told = (await client.get("/v1/metadata")).json()
                assert told["modelInfo"][0]["shortName"].startswith(f"{task}-v")
                assert (await client.get("/v1/models")).json()["data"][0]["id"].startswith(f"ullage/{task}-v")
                answer = await client.post("/v1/infer", json=infer(saved(table())))
                assert answer.status_code == 200
                [item] = answer.json()["data"]
                assert ("text_detections" in item) == (task == "ocr")
                if task == "graphic-elements":
                    assert "no chart model is packaged" in told["how"]
                memory = (await client.get("/v1/memory")).json()
                assert memory["profile"] == "cpu-fp32-p500k"
                assert (await client.get("/v1/metrics")).text.count("ullage_vision_pictures_total")


async def test_a_task_alone_refuses_the_others_by_name(vision, serve):
    async with serve(vision(vision_tasks="ocr")) as client:
        assert (await client.post("/v1/infer", json=infer(saved(page())))).status_code == 200
        answer = await client.post("/v1/page-elements", json=infer(saved(page())))
    assert answer.status_code == 404
    assert answer.json()["message"] == "page-elements is not served here: ocr are (vision_tasks)"


async def test_v2_labels_by_setting(vision, serve):
    async with serve(vision(page_elements_version="v2", vision_tasks="page-elements")) as client:
        answer = await client.post("/v1/infer", json=infer(saved(page())))
        told = (await client.get("/v1/metadata")).json()
    assert {*answer.json()["data"][0]["bounding_boxes"]} <= {"table", "chart", "title", "infographic"}
    assert told["modelInfo"][0]["shortName"].startswith("page-elements-v2:")





FAULTS = [
    ({}, 422, "input: Field required"),
    ({"input": []}, 422, "at least 1 item"),
    (infer(*[b"x"] * (MAX_IMAGES + 1)), 422, "at most 64 items"),
    (infer(WHOLE, top_k=3), 422, "top_k: unknown field"),
    (infer(WHOLE, model="nvidia/other"), 404, "model 'nvidia/other' is not served here"),
    ({"input": [{"type": "text", "url": "x"}]}, 422, "image_url"),
    ({"input": [{"type": "image_url", "url": "https://example.org/a.png"}]}, 422, "is no data URL"),
    ({"input": [{"type": "image_url", "url": "data:image/png,xyz"}]}, 422, "without ;base64"),
    ({"input": [{"type": "image_url", "url": "data:text/html;base64,PGI+"}]}, 422, "text/html is no picture"),
    ({"input": [{"type": "image_url", "url": "data:image/png;base64,%%%%"}]}, 422, "is not base64"),
    ({"input": [{"type": "image_url", "url": "data:image/png;base64,"}]}, 422, "the picture is empty"),
    (infer(WHOLE, b"%PDF-1.4 no picture"), 422, "input.1: 19 bytes are no PNG or JPEG (a PDF)"),
    (infer(WHOLE[: len(WHOLE) // 2]), 422, "input.0: the picture of"),
    (infer(bomb(30_000, 1200)), 413, "input.0: a picture of 30000 x 1200 pixels is over 2000000"),
]
async def test_what_is_wrong_is_said_in_one_line(vision, serve):
    async with serve(vision(vision_tasks="table-structure")) as client:
        for body, status, said in FAULTS:
            answer = await client.post("/v1/infer", json=body)
            assert answer.status_code == status, answer.text
            assert said in answer.json()["message"]
            assert "\n" not in answer.json()["message"]
            assert answer.json()["object"] == "error"
        after = await client.post("/v1/infer", json=infer(saved(table())))
    assert after.status_code == 200


async def test_the_vendors_own_sloppy_kind_and_line_breaks_are_read(vision, serve):
    url = data_url(saved(table()), "img/png")
    broken = url[:80] + "\n" + url[80:]
    async with serve(vision(vision_tasks="table-structure")) as client:
        given = [{"type": "image_url", "url": written} for written in (url, broken)]
        answer = await client.post("/v1/infer", json={"input": given})
    assert answer.status_code == 200
