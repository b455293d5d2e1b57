"""The vision tasks over KServe v2, by the model names and tensors that clients of the 1.x NIMs ask for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast, get_args

import numpy as np

from ullage.engines.vision.lines import Level
from ullage.errors import InvalidRequest
from ullage.http.grpc.model import Inferred, Parameters, Tensor
from ullage.http.names import Names
from ullage.serve.vision.answers import boxes_of, corners_of
from ullage.serve.vision.pictures import decoded, files_of
from ullage.serve.vision.schema import ImageInput
from ullage.serve.vision.service import VisionService, names_of
from ullage.settings import VisionTask

MAX_BATCH = 32
"""As Triton's default in these NIMs."""


class DetectionModel:
    """A detection task: pictures in base64 and (least confidence, overlap) of each in, a JSON text of each out.

    Boxes of one label never overlap by more than a client's second threshold asks, so that one has nothing to do.
    """

    inputs: ClassVar = (Tensor("INPUT_IMAGES", "BYTES", (1,)), Tensor("THRESHOLDS", "FP32", (2,), optional=True))
    outputs: ClassVar = (Tensor("OUTPUT", "BYTES", (1,)),)
    max_batch_size = MAX_BATCH

    def __init__(self, service: VisionService, task: VisionTask) -> None:
        self._service = service
        self._task: VisionTask = task
        self.names = Names.of(["yolox_ensemble", "yolox", *names_of(task, service.settings).listed])
        self.health = service.health
        self.revision = service.card.revision

    async def infer(self, texts: Mapping[str, Sequence[str]], parameters: Parameters) -> Inferred:
        _none(parameters)
        files = [_file(text, row) for row, text in enumerate(texts["INPUT_IMAGES"])]
        least = [float(row.split()[0]) for row in texts.get("THRESHOLDS", ["0 0"] * len(files))]
        looked = await self._service.look(self._task, files)
        said = np.empty((len(files), 1), object)
        for row, (found, limit) in enumerate(zip(looked.found, least, strict=True)):
            boxes = {label: [[one.x_min, one.y_min, one.x_max, one.y_max, one.confidence] for one in some
                             if one.confidence >= limit] for label, some in boxes_of(found).items()}
            said[row, 0] = json.dumps(boxes).encode()
        return Inferred({"OUTPUT": said[:, 0]}, {"model_revision": self.revision}, len(files), looked.queue_s,
                        looked.compute_s)


class OcrModel:
    """Pictures in base64 and a merge level of each in; corners, texts and confidences of each out, as JSON."""

    inputs: ClassVar = (
        Tensor("INPUT_IMAGE_URLS", "BYTES", (1,)), Tensor("MERGE_LEVELS", "BYTES", (1,), optional=True)
    )
    outputs: ClassVar = (Tensor("OUTPUT", "BYTES", (3,)),)
    max_batch_size = MAX_BATCH

    def __init__(self, service: VisionService) -> None:
        self._service = service
        self.names = Names.of(["scene_text_ensemble", "scene_text_wrapper", "scene_text_python",
                               *names_of("ocr", service.settings).listed])
        self.health = service.health
        self.revision = service.card.revision

    async def infer(self, texts: Mapping[str, Sequence[str]], parameters: Parameters) -> Inferred:
        _none(parameters)
        files = [_file(text, row) for row, text in enumerate(texts["INPUT_IMAGE_URLS"])]
        levels = [_level(text) for text in texts.get("MERGE_LEVELS", ["paragraph"] * len(files))]
        looked = await self._service.look("ocr", files, levels)
        said = np.empty((len(files), 3), object)
        for row, found in enumerate(looked.found):
            said[row, 0] = json.dumps([corners_of(line, found) for line in found.lines]).encode()
            said[row, 1] = json.dumps([line.text for line in found.lines], ensure_ascii=False).encode()
            said[row, 2] = json.dumps([round(line.score, 4) for line in found.lines]).encode()
        return Inferred({"OUTPUT": said}, {"model_revision": self.revision}, len(files), looked.queue_s,
                        looked.compute_s)


def _file(text: str, row: int) -> bytes:
    """A picture in base64, alone or in a data URL."""
    if text[:5].lower() == "data:":
        return files_of([ImageInput(type="image_url", url=text)])[0]
    return decoded(text, f"row {row}")


def _level(text: str) -> Level:
    if text not in get_args(Level):
        raise InvalidRequest(f"MERGE_LEVELS holds {text!r}: there are {', '.join(get_args(Level))}")
    return cast("Level", text)


def _none(parameters: Parameters) -> None:
    if parameters:
        raise InvalidRequest(f"parameter {next(iter(parameters))!r}: this model takes none")
