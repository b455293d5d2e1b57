"""tritonclient over gRPC, as the clients of NVIDIA's pipelines use it."""

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.utils as utils
from servers import BEST, PASSAGES, QUERY

RANKER = "ullage_minilm_fusion_ranker"
EMBEDDER = "sentence_transformers_all_MiniLM_L6_v2"


@pytest.fixture
def ranker(ranking):
    with triton.InferenceServerClient(ranking.grpc) as client:
        yield client


@pytest.fixture
def embedder(embedding):
    with triton.InferenceServerClient(embedding.grpc) as client:
        yield client


def tensor(name, texts):
    given = triton.InferInput(name, [len(texts), 1], "BYTES")
    given.set_data_from_numpy(np.array([[text.encode()] for text in texts], dtype=np.object_))
    return given


def rank(client, query, passages, **options):
    return client.infer(RANKER, [tensor("query", [query] * len(passages)), tensor("passage", passages)], **options)


def test_management(ranker):
    assert ranker.is_server_live()
    assert ranker.is_server_ready()
    assert ranker.is_model_ready(RANKER)
    assert not ranker.is_model_ready("nobody")
    assert ranker.get_server_metadata().name == "ullage"
    metadata = ranker.get_model_metadata(RANKER)
    assert [tensor.name for tensor in metadata.inputs] == ["query", "passage"]
    assert [tensor.name for tensor in metadata.outputs] == ["index", "logit", "token_count"]
    assert ranker.get_model_config(RANKER).config.max_batch_size == 512
    [model] = ranker.get_model_repository_index().models
    assert (model.name, model.state) == (RANKER, "READY")
    ranker.unload_model(RANKER)
    ranker.load_model(RANKER)
    with pytest.raises(utils.InferenceServerException, match="is not served here"):
        ranker.get_model_metadata("nobody")


@pytest.mark.parametrize("truncate", ["END", "end", "NONE", None])
def test_ranks_in_the_order_of_logits(ranker, truncate):
    parameters = {"truncate": truncate} if truncate else None
    outputs = [triton.InferRequestedOutput(name) for name in ("index", "logit", "token_count")]
    answer = rank(ranker, QUERY, PASSAGES, outputs=outputs, parameters=parameters, request_id="r1")
    assert answer.get_response().id == "r1"
    assert answer.as_numpy("index").shape == (3, 1)
    assert answer.as_numpy("index").dtype == np.int32
    assert answer.as_numpy("index")[0, 0] == BEST
    assert np.all(np.diff(answer.as_numpy("logit")[:, 0]) <= 0)
    assert answer.as_numpy("token_count").shape == (3,)
    counted = ranker.get_inference_statistics(RANKER).model_stats[0]
    assert counted.inference_count >= 3


def test_too_long_is_internal_with_the_contracts_words(ranker):
    with pytest.raises(utils.InferenceServerException, match="exceeds maximum allowed token size 512") as refused:
        rank(ranker, QUERY, ["charging " * 700])
    assert "INTERNAL" in refused.value.status()
    rank(ranker, QUERY, ["charging " * 700], parameters={"truncate": "END"})


def test_faults_are_invalid_arguments(ranker):
    with pytest.raises(utils.InferenceServerException, match="input passage is missing"):
        ranker.infer(RANKER, [tensor("query", [QUERY])])
    with pytest.raises(utils.InferenceServerException, match="batch-size must be <= 512"):
        rank(ranker, QUERY, ["x"] * 513)


def test_embeds(embedder):
    text = tensor("text", ["a ferry", "a boat"])
    modality = tensor("modality", ["text", "text"])
    parameters = {"input_type": "query", "truncate": "END"}
    answer = embedder.infer(EMBEDDER, [text, modality], parameters=parameters)
    vectors = answer.as_numpy("embeddings")
    assert vectors.shape == (2, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert answer.as_numpy("token_count").tolist() == [4, 4]
    assert embedder.get_model_config(EMBEDDER, as_json=True)["config"]["max_batch_size"] > 0
