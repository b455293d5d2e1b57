"""KServe v2 over a real gRPC port: tensors, parameters, management, refusals, keys and TLS."""

import asyncio
import socket
import struct
import subprocess
import sys
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest
import trustme

from processes import clean_environment, free_port
from ullage.engines.dummy import DummyEngine
from ullage.http.grpc import kserve_pb2 as pb
from ullage.http.grpc.kserve_pb2_grpc import GRPCInferenceServiceStub

MODEL = "ullage_minilm_fusion_ranker"
QUERY = "which pier?"
PASSAGES = ["gulls", "the north pier", "the pier of the ferry to town"]


def request(query=None, passages=PASSAGES, model=MODEL, raw=True, **parameters):
    made = pb.ModelInferRequest(model_name=model, id="r1")
    for name, texts in (("query", query or [QUERY] * len(passages)), ("passage", passages)):
        blobs = [text if isinstance(text, bytes) else text.encode() for text in texts]
        tensor = made.inputs.add(name=name, datatype="BYTES", shape=[len(blobs), 1])
        if raw:
            made.raw_input_contents.append(b"".join(struct.pack("<I", len(blob)) + blob for blob in blobs))
        else:
            tensor.contents.bytes_contents.extend(blobs)
    for name, value in parameters.items():
        kind = "string_param" if isinstance(value, str) else "int64_param"
        setattr(made.parameters[name], kind, value)
    return made


def arrays(response):
    kinds = {"INT32": "<i4", "FP32": "<f4"}
    return {output.name: np.frombuffer(raw, kinds[output.datatype]).reshape(output.shape)
            for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)}


@pytest.fixture
def served(dummy_ranking, serve):
    """(HTTP client, gRPC stub) of one app, in a context manager."""
    @asynccontextmanager
    async def running(engine=None, credentials=None, **settings):
        port = free_port()
        app = dummy_ranking(engine, ranking_grpc_port=port, **settings)
        address = f"127.0.0.1:{port}"
        channel = grpc.aio.secure_channel(address, credentials) if credentials else grpc.aio.insecure_channel(address)
        async with serve(app) as client, channel:
            yield client, GRPCInferenceServiceStub(channel)

    return running


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code().name, refused.value.details()


@pytest.mark.parametrize("raw", [True, False])
async def test_infer_gives_what_http_gives(served, raw):
    async with served() as (http, stub):
        response = await stub.ModelInfer(request(raw=raw))
        body = {"model": MODEL, "query": {"text": QUERY}, "passages": [{"text": text} for text in PASSAGES]}
        answer = await http.post("/v1/ranking", json={**body, "model": "ullage/minilm-fusion-ranker"})
    found = arrays(response)
    assert {name: value.shape for name, value in found.items()} == {
        "index": (3, 1), "logit": (3, 1), "token_count": (3,)}
    assert [output.datatype for output in response.outputs] == ["INT32", "FP32", "INT32"]
    rankings = answer.json()["rankings"]
    assert found["index"][:, 0].tolist() == [item["index"] for item in rankings]
    assert np.allclose(found["logit"][:, 0], [item["logit"] for item in rankings])
    assert found["token_count"].tolist() == [int(n) for n in answer.headers["x-ullage-tokens"][1:-1].split(",")]
    assert (response.id, response.model_name, response.model_version) == ("r1", MODEL, "1")
    assert response.parameters["model_revision"].string_param == "8199be6f699a"


async def test_only_the_outputs_asked_for(served):
    asked = request()
    asked.outputs.add(name="logit")
    async with served() as (_, stub):
        assert [output.name for output in (await stub.ModelInfer(asked)).outputs] == ["logit"]
        asked.outputs.add(name="score")
        assert await refusal(stub.ModelInfer(asked)) == (
            "INVALID_ARGUMENT", "output 'score': this model gives index, logit, token_count")


@pytest.mark.parametrize("truncate", ["END", "end"])
async def test_truncate_in_either_case(served, truncate):
    long = request(passages=["charging " * 700])
    async with served() as (_, stub):
        for asked in (long, request(passages=["charging " * 700], truncate="none")):
            assert await refusal(stub.ModelInfer(asked)) == (
                "INTERNAL", "Input length 706 exceeds maximum allowed token size 512")
        cut = await stub.ModelInfer(request(passages=["charging " * 700], truncate=truncate))
    assert arrays(cut)["token_count"].tolist() == [512]
    assert cut.parameters["truncated"].int64_param == 1


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        (request(model="nobody"), "NOT_FOUND", "model 'nobody' is not served here"),
        (request(query=["a", "b", "a"]), "INVALID_ARGUMENT", "input query differs in row 1"),
        (request(query=["a"]), "INVALID_ARGUMENT", "different batch sizes (query 1, passage 3)"),
        (request(passages=["a", "", "c"]), "INVALID_ARGUMENT", "input passage, row 1, is empty"),
        (request(query=[" "] * 3), "INVALID_ARGUMENT", "query"),
        (request(passages=["x"] * 513), "INVALID_ARGUMENT", "batch-size must be <= 512"),
        (request(passages=[b"\xff"]), "INVALID_ARGUMENT", "is not UTF-8"),
        (request(truncate="START"), "INVALID_ARGUMENT", "truncate='START': it is NONE or END"),
        (request(top_n=3), "INVALID_ARGUMENT", "parameter 'top_n': this model takes truncate alone"),
        (pb.ModelInferRequest(model_name=MODEL), "INVALID_ARGUMENT", "input query is missing"),
    ],
)
async def test_faults(served, asked, code, said):
    async with served() as (_, stub):
        got, details = await refusal(stub.ModelInfer(asked))
    assert got == code
    assert said in details


async def test_raw_bytes_that_end_too_early_are_told(served):
    asked = request(passages=["abc"])
    asked.raw_input_contents[1] = asked.raw_input_contents[1][:-1]
    async with served() as (_, stub):
        code, details = await refusal(stub.ModelInfer(asked))
    assert (code, details) == ("INVALID_ARGUMENT", "input passage: its raw bytes end within an element at byte 0")


async def test_management(served):
    async with served() as (_, stub):
        assert (await stub.ServerLive(pb.ServerLiveRequest())).live
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
        assert (await stub.ModelReady(pb.ModelReadyRequest(name=MODEL))).ready
        assert not (await stub.ModelReady(pb.ModelReadyRequest(name="nobody"))).ready
        assert (await stub.ServerMetadata(pb.ServerMetadataRequest())).name == "ullage"
        metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name=MODEL))
        config = (await stub.ModelConfig(pb.ModelConfigRequest(name=MODEL))).config
        [indexed] = (await stub.RepositoryIndex(pb.RepositoryIndexRequest())).models
        await stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=MODEL))
        await stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=MODEL))
        await stub.ModelInfer(request())  # as a client does after it loaded the model again
        await refusal(stub.ModelInfer(request(truncate="x")))
        [counted] = (await stub.ModelStatistics(pb.ModelStatisticsRequest(name=MODEL))).model_stats
        for call in (stub.ModelMetadata(pb.ModelMetadataRequest(name="x")), stub.ModelConfig(pb.ModelConfigRequest()),
                     stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="x"))):
            assert (await refusal(call))[0] == "NOT_FOUND"
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [
        ("query", "BYTES", [-1, 1]), ("passage", "BYTES", [-1, 1])]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("index", "INT32", [-1, 1]), ("logit", "FP32", [-1, 1]), ("token_count", "INT32", [-1])]
    assert (config.max_batch_size, [list(i.dims) for i in config.input]) == (512, [[1], [1]])
    assert (indexed.name, indexed.version, indexed.state) == (MODEL, "1", "READY")
    assert (counted.inference_count, counted.execution_count) == (3, 1)
    assert (counted.inference_stats.success.count, counted.inference_stats.fail.count) == (1, 1)


@pytest.mark.parametrize(("version", "code"), [("1.10", "UNAVAILABLE"), ("2.0", "RESOURCE_EXHAUSTED")])
async def test_a_full_queue_by_generation(served, version, code):
    async with served(DummyEngine(tokens_per_s=2000), nim_version=version, queue_requests=1) as (_, stub):
        first = asyncio.ensure_future(stub.ModelInfer(request(passages=["a " * 400])))
        await asyncio.sleep(0.1)
        got, details = await refusal(stub.ModelInfer(request()))
        await first
    assert got == code
    assert details.startswith("Exceeds maximum queue size: ")


async def test_without_a_port_there_is_no_grpc(dummy_ranking):
    assert dummy_ranking().state.door.grpc_port is None


def test_a_port_that_is_taken_ends_the_start(tmp_path, model_cache):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        own = {"ULLAGE_RANKING_GRPC_PORT": str(port), "ULLAGE_STATE_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "ullage", "serve", "ranking", "--port", str(free_port())]
        ran = subprocess.run(command, env=clean_environment(**own), capture_output=True, text=True, timeout=60)
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[-1] == (
        f"error: cannot listen on 127.0.0.1:{port} for gRPC: stop what holds it or choose another port")


async def test_keys_and_tls_are_those_of_http(served, tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert")
    issued.private_key_pem.write_to_path(tmp_path / "key")
    trusting = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    locked = {"api_keys": "open-sesame", "tls_cert": tmp_path / "cert", "tls_key": tmp_path / "key"}
    async with served(credentials=trusting, **locked) as (_, stub):
        assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
        for metadata in ((), (("authorization", "Bearer no"),)):
            assert (await refusal(stub.ModelInfer(request(), metadata=metadata)))[0] == "UNAUTHENTICATED"
            assert (await refusal(stub.ServerMetadata(pb.ServerMetadataRequest(), metadata=metadata)))[0] == (
                "UNAUTHENTICATED")
        for metadata in ((("authorization", "Bearer open-sesame"),), (("x-api-key", "open-sesame"),)):
            assert arrays(await stub.ModelInfer(request(), metadata=metadata))["index"].shape == (3, 1)
