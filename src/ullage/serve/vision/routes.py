"""`/v1/infer` of the 1.x services, which means the task of its port, and the 2.x routes, the same at every port."""

from __future__ import annotations

from fastapi import FastAPI, Response

from ullage.serve.vision.answers import detections, texts
from ullage.serve.vision.pictures import files_of
from ullage.serve.vision.schema import DetectionResponse, InferRequest, OcrRequest, OcrResponse
from ullage.serve.vision.service import VisionService
from ullage.settings import VisionTask

DETECTIONS: tuple[VisionTask, ...] = ("page-elements", "graphic-elements", "table-structure")
"""graphic-elements has no route in 2.x of the NIM; ours is named like the others."""


def add_infer_route(app: FastAPI, service: VisionService, task: VisionTask) -> None:
    """`POST /v1/infer` for one task."""
    _add(app, service, task, "/v1/infer")


def add_named_routes(app: FastAPI, service: VisionService) -> None:
    """`POST /v1/page-elements`, `/v1/graphic-elements`, `/v1/table-structure` and `/v1/ocr`; one whose models are not
    loaded answers 404 with those that are."""
    for task in (*DETECTIONS, "ocr"):
        _add(app, service, task, f"/v1/{task}")


def _add(app: FastAPI, service: VisionService, task: VisionTask, path: str) -> None:
    if task == "ocr":

        @app.post(path, response_model=OcrResponse, tags=["vision"], name=f"{task} {path}")
        async def ocr(body: OcrRequest, response: Response) -> OcrResponse:
            service.check("ocr", body.model)
            files = files_of(body.input)
            looked = await service.look("ocr", files, body.levels, body.model)
            response.headers.update(service.told(looked))
            return texts(looked.found, [len(file) for file in files])

        return

    @app.post(path, response_model=DetectionResponse, tags=["vision"], name=f"{task} {path}")
    async def detect(body: InferRequest, response: Response) -> DetectionResponse:
        service.check(task, body.model)
        files = files_of(body.input)
        looked = await service.look(task, files, model=body.model)
        response.headers.update(service.told(looked))
        return detections(looked.found, [len(file) for file in files])
