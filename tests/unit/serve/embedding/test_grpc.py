"""The embedder over KServe v2 on a real gRPC port."""

import struct
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest

from processes import free_port
from ullage.http.grpc import kserve_pb2 as pb
from ullage.http.grpc.kserve_pb2_grpc import GRPCInferenceServiceStub

MODEL = "sentence_transformers_all_MiniLM_L6_v2"
DTYPES = {"INT32": "<i4", "FP32": "<f4", "INT8": "i1", "UINT8": "u1"}


def request(texts, modality=(), **parameters):
    made = pb.ModelInferRequest(model_name=MODEL)
    for name, values in (("text", texts), ("modality", modality)):
        if values:
            blobs = [value.encode() for value in values]
            made.inputs.add(name=name, datatype="BYTES", shape=[len(blobs), 1])
            made.raw_input_contents.append(b"".join(struct.pack("<I", len(blob)) + blob for blob in blobs))
    for name, value in parameters.items():
        setattr(made.parameters[name], "string_param" if isinstance(value, str) else "int64_param", value)
    return made


def arrays(response):
    return {output.name: np.frombuffer(raw, DTYPES[output.datatype]).reshape(output.shape)
            for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)}


@pytest.fixture
def served(dummy_embedding, serve):
    @asynccontextmanager
    async def running(card=None):
        port = free_port()
        async with (
            serve(dummy_embedding(card, embedding_grpc_port=port)) as client,
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
        ):
            yield client, GRPCInferenceServiceStub(channel)

    return running


async def test_vectors_are_those_of_http_and_a_query_is_the_default(served):
    prefixes = {"query_prefix": "query: ", "passage_prefix": "passage: "}
    async with served(prefixes) as (http, stub):
        default = arrays(await stub.ModelInfer(request(["a ferry", "b"], ["text", "text"])))
        passage = arrays(await stub.ModelInfer(request(["a ferry", "b"], input_type="passage")))
        ask = {"model": "all-MiniLM-L6-v2", "input": ["a ferry", "b"]}
        query = (await http.post("/v1/embeddings", json={**ask, "input_type": "query"})).json()
        same = (await http.post("/v1/embeddings", json={**ask, "input_type": "passage"})).json()
    assert default["embeddings"].dtype == np.float32
    assert default["token_count"].tolist() == [6, 5]
    assert np.allclose(default["embeddings"], [item["embedding"] for item in query["data"]])
    assert np.allclose(passage["embeddings"], [item["embedding"] for item in same["data"]])


async def test_dimensions_types_and_truncation(served):
    async with served({"dimensions": (128, 384)}) as (_, stub):
        cut = arrays(await stub.ModelInfer(request(["a"], dimensions=128)))["embeddings"]
        whole = await stub.ModelInfer(request(["a"], embedding_type="int8"))
        bits = arrays(await stub.ModelInfer(request(["a"], embedding_type="ubinary")))["embeddings"]
        long = await stub.ModelInfer(request(["word " * 700], truncate="start"))
    assert cut.shape == (1, 128)
    assert np.linalg.norm(cut) == pytest.approx(1, abs=1e-6)
    assert [output.datatype for output in whole.outputs] == ["INT32", "INT8"]
    assert arrays(whole)["embeddings"].shape == (1, 384)
    assert (bits.dtype, bits.shape) == (np.uint8, (1, 48))
    assert arrays(long)["token_count"].tolist() == [512]
    assert long.parameters["truncated"].int64_param == 1


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (request(["word " * 700]), "INTERNAL", "Input length 702 exceeds maximum allowed token size 512"),
        (request(["a"], ["image"]), "INVALID_ARGUMENT", "modality, row 0, is 'image'"),
        (request(["a"], input_type="title"), "INVALID_ARGUMENT", "it is one of query, passage"),
        (request(["a"], truncate="both"), "INVALID_ARGUMENT", "it is one of NONE, START, END"),
        (request(["a"], dimensions="many"), "INVALID_ARGUMENT", "give a whole number"),
        (request(["a"], dimensions=0), "INVALID_ARGUMENT", "dimensions=0: give 1 or more"),
        (request(["a"], dimensions=7), "INVALID_ARGUMENT", "gives 384 and no other"),
        (request(["a"], nvcf_asset="x"), "INVALID_ARGUMENT", "parameter 'nvcf_asset'"),
        (request(["x"] * 2049), "INVALID_ARGUMENT", "batch-size must be <= 2048"),
    ],
)
async def test_faults(served, asked, code, said):
    async with served() as (_, stub):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ModelInfer(asked)
    assert refused.value.code().name == code
    assert said in refused.value.details()


async def test_metadata_names_the_tensors(served):
    async with served() as (_, stub):
        metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL))
        config = (await stub.ModelConfig(pb.ModelConfigRequest(name=MODEL))).config
        [indexed] = (await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [
        ("text", "BYTES", [-1, 1]), ("modality", "BYTES", [-1, 1])]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("token_count", "INT32", [-1]), ("embeddings", "FP32", [-1, 384])]
    assert [tensor.optional for tensor in config.input] == [False, True]
    assert (config.max_batch_size, indexed.name, indexed.state) == (2048, MODEL, "READY")
