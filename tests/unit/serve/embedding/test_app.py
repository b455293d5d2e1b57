"""`POST /v1/embeddings` over the bundled model."""

import base64

import numpy as np
import pytest

from ullage.devices import detect
from ullage.models.card import find_card
from ullage.plan import plan_service
from ullage.serve.embedding.app import create_app
from ullage.settings import Settings

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def app(model_cache):
    settings = Settings(cache_dir=model_cache, threads=1)
    planned = plan_service("embedding", find_card(MODEL, "embedding"), settings, detect())["embedding"]
    return create_app(settings, planned)


async def test_unit_vectors_in_order_and_the_same_alone_or_together(app, serve):
    texts = ["a ferry", "a much longer sentence about the price of a ferry ticket in winter", "b"]
    async with serve(app) as client:
        together = (await client.post("/v1/embeddings", json={"model": MODEL, "input": texts})).json()
        alone = [(await client.post("/v1/embeddings", json={"model": MODEL, "input": text})).json() for text in texts]
    assert [item["index"] for item in together["data"]] == [0, 1, 2]
    vectors = np.array([item["embedding"] for item in together["data"]], np.float32)
    assert vectors.shape == (3, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(vectors, np.array([one["data"][0]["embedding"] for one in alone], np.float32))
    assert together["usage"]["total_tokens"] == sum(one["usage"]["total_tokens"] for one in alone)


async def test_base64_holds_the_same_floats(app, serve):
    async with serve(app) as client:
        ask = {"model": "all-MiniLM-L6-v2-query", "input": ["x"]}
        floats = (await client.post("/v1/embeddings", json=ask)).json()["data"][0]["embedding"]
        packed = (await client.post("/v1/embeddings", json={**ask, "encoding_format": "base64"})).json()
    decoded = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    assert np.array_equal(decoded, np.array(floats, np.float32))


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"input": ""}, 422, "input"),
        ({"input": []}, 422, "at least 1 item"),
        ({"input": ["x", ""]}, 422, "should have at least 1 character"),
        ({"input": [[1, 2]]}, 422, "input"),
        ({"dimensions": 128}, 422, "gives 384 and no other"),
        ({"dimensions": 0}, 400, "dimensions=0: give 1 or more"),
        ({"dimensions": -1}, 400, "dimensions=-1: give 1 or more"),
        ({"input": [1, 2]}, 422, "token ids are not taken"),
        ({"input": "data:image/png;base64,AAAA"}, 422, "images are not taken"),
        ({"modality": "image"}, 422, "this model embeds text"),
        ({"modality": ["text", "text"]}, 422, "modality has 2 entries for 1 texts"),
        ({"input_type": "document"}, 422, "'query' or 'passage'"),
        ({"extra": 1}, 422, "extra: unknown field"),
        ({"model": "other"}, 404, "is not served here"),
        ({"input": "word " * 600}, 422, "Input length 602 exceeds maximum allowed token size 512"),
    ],
)
async def test_bad_requests_are_refused_in_one_line(app, serve, changes, status, said):
    async with serve(app) as client:
        answer = await client.post("/v1/embeddings", json={"model": MODEL, "input": "x", **changes})
    assert answer.status_code == status
    assert said in answer.json()["message"]


async def test_truncation_keeps_the_start_or_the_end(app, serve):
    text = "alpha " * 600 + "omega"
    async with serve(app) as client:
        ask = {"model": MODEL, "input": text}
        end = await client.post("/v1/embeddings", json={**ask, "truncate": "END"})
        start = await client.post("/v1/embeddings", json={**ask, "truncate": "START"})
    assert end.headers["x-ullage-truncated"] == start.headers["x-ullage-truncated"]
    assert end.json()["data"] != start.json()["data"]
    assert end.json()["usage"]["total_tokens"] == 512


async def test_it_answers_to_the_name_it_was_given(model_cache, serve):
    settings = Settings(cache_dir=model_cache, threads=1, embedding_served_name="our-embedder")
    planned = plan_service("embedding", find_card(MODEL, "embedding"), settings, detect())["embedding"]
    async with serve(create_app(settings, planned)) as client:
        for name in ("our-embedder", "our-embedder-query"):
            answer = await client.post("/v1/embeddings", json={"model": name, "input": "a ferry"})
            assert answer.status_code == 200
