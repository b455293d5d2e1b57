"""The tensors of the 1.x NIMs, as their clients send them."""

from __future__ import annotations

import base64
import json

import grpc
import numpy as np
import pytest

from pictures import LINES, page, saved, table
from ullage.http.grpc import kserve_pb2 as pb
from ullage.http.grpc import kserve_pb2_grpc as services
from ullage.http.grpc.server import KserveServicer

DETECT = "yolox_ensemble"
READ = "scene_text_ensemble"


@pytest.fixture
async def channel_to():
    """A stub of a server that serves an app's model."""
    opened = []

    async def stub(app):
        server = grpc.aio.server()
        services.add_GRPCInferenceServiceServicer_to_server(KserveServicer(app.state.kserve, None, 1), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        opened.append((channel, server))
        return services.GRPCInferenceServiceStub(channel)

    yield stub
    for channel, server in opened:
        await channel.close()
        await server.stop(0)


def request_of(name: str, *tensors) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=name)
    for tensor, datatype, shape, elements in tensors:
        given = request.inputs.add(name=tensor, datatype=datatype, shape=shape)
        field = given.contents.fp32_contents if datatype == "FP32" else given.contents.bytes_contents
        field.extend(elements)
    return request


def bytes_of(answer) -> list[bytes]:
    raw, found = answer.raw_output_contents[0], []
    while raw:
        size = int.from_bytes(raw[:4], "little")
        found.append(raw[4 : 4 + size])
        raw = raw[4 + size :]
    return found


def encoded(picture) -> bytes:
    return base64.b64encode(saved(picture))


async def test_detection_with_thresholds(vision, serve, channel_to):
    app = vision(vision_tasks="table-structure")
    async with serve(app):
        stub = await channel_to(app)
        [model] = (await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models
        assert model.name == DETECT
        assert (await stub.ModelConfig(pb.ModelConfigRequest(name="yolox"))).config.max_batch_size == 32
        images = ("INPUT_IMAGES", "BYTES", [2], [encoded(table()), encoded(page())])
        answer = await stub.ModelInfer(request_of(DETECT, images, ("THRESHOLDS", "FP32", [2, 2], [0.01, 0.25] * 2)))
        none = await stub.ModelInfer(request_of(DETECT, images, ("THRESHOLDS", "FP32", [2, 2], [1.0, 0.25] * 2)))
    first, _second = [json.loads(text) for text in bytes_of(answer)]
    assert len(first["row"]) == 3
    assert all(len(box) == 5 and min(box) >= 0 and max(box) <= 1 for boxes in first.values() for box in boxes)
    assert not any(json.loads(bytes_of(none)[0]).values())


async def test_ocr_gives_corners_texts_and_scores(vision, serve, channel_to):
    app = vision(vision_tasks="ocr")
    async with serve(app):
        stub = await channel_to(app)
        answer = await stub.ModelInfer(request_of(
            READ, ("INPUT_IMAGE_URLS", "BYTES", [1, 1], [encoded(page())]),
            ("MERGE_LEVELS", "BYTES", [1, 1], [b"sentence"]),
        ))
        assert list(answer.outputs[0].shape) == [1, 3]
    corners, texts, scores = [json.loads(text) for text in bytes_of(answer)]
    assert texts == list(LINES)
    assert np.asarray(corners).shape == (len(LINES), 4, 2)
    assert len(scores) == len(LINES)


@pytest.mark.parametrize(("tensors", "said"), [
    ([("INPUT_IMAGE_URLS", "BYTES", [1, 1], [b"%%%"])], "row 0: the picture is not base64"),
    ([("INPUT_IMAGE_URLS", "BYTES", [1, 1], [b"aGVsbG8="])], "5 bytes are no PNG or JPEG"),
    ([("INPUT_IMAGE_URLS", "BYTES", [1, 1], [b"aGVsbG8="]), ("MERGE_LEVELS", "BYTES", [1, 1], [b"line"])],
     "MERGE_LEVELS holds 'line'"),
    ([("MERGE_LEVELS", "BYTES", [1, 1], [b"word"])], "INPUT_IMAGE_URLS is missing"),
])
async def test_faults_are_invalid_arguments(vision, serve, channel_to, tensors, said):
    app = vision(vision_tasks="ocr")
    async with serve(app):
        stub = await channel_to(app)
        with pytest.raises(grpc.aio.AioRpcError, match="INVALID_ARGUMENT") as refused:
            await stub.ModelInfer(request_of(READ, *tensors))
    assert said in refused.value.details()


async def test_numbers_must_be_pairs(vision, serve, channel_to):
    app = vision(vision_tasks="page-elements")
    async with serve(app):
        stub = await channel_to(app)
        with pytest.raises(grpc.aio.AioRpcError, match=r"give \[batch, 2\]"):
            await stub.ModelInfer(request_of(DETECT, ("INPUT_IMAGES", "BYTES", [1], [encoded(table())]),
                                             ("THRESHOLDS", "FP32", [1, 3], [0.1, 0.2, 0.3])))
