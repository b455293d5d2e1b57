"""OpenAI's, NIM's and TEI's routes of embedding: shapes of vectors, prefixes, codes by generation, truth in headers."""

import base64
import json

import numpy as np
import pytest

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
CUTTABLE = {"dimensions": (128, 384)}
PREFIXED = {"query_prefix": "query: ", "passage_prefix": "passage: "}
LONG = "word " * 700


async def vectors(client, text="a ferry", **changes):
    answer = await client.post("/v1/embeddings", json={"model": MODEL, "input": text, **changes})
    assert answer.status_code == 200, answer.text
    return [item["embedding"] for item in answer.json()["data"]]


@pytest.mark.parametrize(("version", "code"), [("1.8", 400), ("1.9", 400), ("1.10", 422), ("2.0", 422)])
async def test_codes_of_each_nim_version_in_words_that_openai_reads(dummy_embedding, serve, version, code):
    async with serve(dummy_embedding(nim_version=version)) as client:
        long = await client.post("/v1/embeddings", json={"model": MODEL, "input": LONG})
        wrong = await client.post("/v1/embeddings", json={"model": MODEL, "input": "x", "extra": 1})
        unknown = await client.post("/v1/embeddings", json={"model": "nobody", "input": "x"})
        below = await client.post("/v1/embeddings", json={"model": MODEL, "input": "x", "dimensions": -1})
    assert (long.status_code, wrong.status_code, unknown.status_code, below.status_code) == (code, code, 404, 400)
    said = "Input length 702 exceeds maximum allowed token size 512"
    assert long.json() == {
        "object": "error", "message": said, "detail": {}, "type": "invalid_request_error",
        "error": {"message": said, "type": "invalid_request_error", "param": None, "code": code}}


@pytest.mark.parametrize(("asked", "got"), [(32, 32), (128, 128), (384, 384), (102_400, 384), (None, 384)])
async def test_dimensions_are_cut_to_unit_length_or_clamped(dummy_embedding, serve, asked, got):
    async with serve(dummy_embedding(CUTTABLE)) as client:
        [whole] = await vectors(client)
        [cut] = await vectors(client, **({} if asked is None else {"dimensions": asked}))
    assert len(cut) == got
    assert np.linalg.norm(cut) == pytest.approx(1, abs=1e-6)
    expected = np.array(whole[:got]) / np.linalg.norm(whole[:got])
    assert np.allclose(cut, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "uint8", "binary", "ubinary"])
async def test_embedding_types_over_numbers_and_base64(dummy_embedding, serve, kind):
    async with serve(dummy_embedding()) as client:
        [floats] = await vectors(client)
        [found] = await vectors(client, embedding_type=kind)
        [packed] = await vectors(client, embedding_type=kind, encoding_format="base64")
    whole = np.array(floats)
    expected = {
        "int8": np.rint(whole * 127).astype(int),
        "uint8": np.rint(whole * 127).astype(int) + 128,
        "binary": np.packbits(whole > 0).astype(int) - 128,
        "ubinary": np.packbits(whole > 0).astype(int),
    }[kind]
    assert found == expected.tolist()
    dtype = np.int8 if kind in ("int8", "binary") else np.uint8
    assert np.frombuffer(base64.b64decode(packed), dtype).tolist() == found


async def test_base64_is_little_endian_float32(dummy_embedding, serve):
    async with serve(dummy_embedding()) as client:
        [floats] = await vectors(client)
        [packed] = await vectors(client, encoding_format="base64")
    assert np.array_equal(np.frombuffer(base64.b64decode(packed), "<f4"), np.array(floats, np.float32))


@pytest.mark.parametrize("kind", ["int8", "uint8"])
async def test_integers_of_vectors_without_a_length_are_refused(dummy_embedding, serve, kind):
    async with serve(dummy_embedding({"normalize": False})) as client:
        answer = await client.post("/v1/embeddings", json={"model": MODEL, "input": "x", "embedding_type": kind})
        assert len(await vectors(client, embedding_type="binary")) == 1
    assert answer.status_code == 422
    assert "are not of unit length; use float" in answer.json()["message"]


async def test_input_type_or_the_names_suffix_chooses_the_prefix(dummy_embedding, serve):
    async with serve(dummy_embedding(PREFIXED)) as client:
        query = await vectors(client, input_type="query")
        passage = await vectors(client, input_type="passage")
        assert query != passage
        assert await vectors(client) == passage
        assert await vectors(client, model=f"{MODEL}-query") == query
        assert await vectors(client, model="all-MiniLM-L6-v2-passage") == passage
        assert await vectors(client, model=f"{MODEL}-query", input_type="passage") == passage
        told = await client.post("/v1/embeddings", json={"model": MODEL, "input": "a ferry", "input_type": "query"})
    assert told.json()["usage"] == {"prompt_tokens": 6, "total_tokens": 6}  # [CLS] query : a ferry [SEP]


async def test_what_was_read_and_cut_is_told(dummy_embedding, serve):
    async with serve(dummy_embedding()) as client:
        answer = await client.post("/v1/embeddings", json={"model": MODEL, "input": ["x", LONG], "truncate": "END"})
        metrics = (await client.get("/v1/metrics")).text
    assert json.loads(answer.headers["x-ullage-tokens"]) == [3, 512]
    assert json.loads(answer.headers["x-ullage-truncated"]) == {"1": 190}
    assert answer.headers["x-ullage-model-revision"] == "8199be6f699a"
    assert [part.split(";")[0] for part in answer.headers["server-timing"].split(", ")] == [
        "tokenize", "queue", "compute"]
    assert 'ullage_phase_seconds_count{phase="compute"} 1.0' in metrics


@pytest.mark.parametrize("modality", ["text", ["text"], ["text", "text"], None])
async def test_the_only_modality_there_is_may_be_said(dummy_embedding, serve, modality):
    async with serve(dummy_embedding()) as client:
        assert len(await vectors(client, ["a", "b"], modality=modality)) == 2


async def test_a_blank_text_is_no_fault_and_an_empty_one_is(dummy_embedding, serve):
    async with serve(dummy_embedding()) as client:
        assert len(await vectors(client, ["a", " \n"])) == 2
        empty = await client.post("/v1/embeddings", json={"model": MODEL, "input": ["a", ""]})
    assert empty.status_code == 422
    assert empty.json()["message"].startswith("input.texts.1: String should have at least 1 character")


@pytest.mark.parametrize("path", ["/", "/embed"])
async def test_tei_gets_bare_vectors(dummy_embedding, serve, path):
    async with serve(dummy_embedding(CUTTABLE | PREFIXED)) as client:
        [query], [passage] = await vectors(client, input_type="query"), await vectors(client, input_type="passage")
        one = (await client.post(path, json={"inputs": "a ferry"})).json()
        two = (await client.post(path, json={"inputs": ["a ferry", "b"], "prompt_name": "query"})).json()
        cut = (await client.post(path, json={"inputs": "a ferry", "dimensions": 128})).json()
    assert one == [passage]
    assert len(two) == 2
    assert two[0] == query
    assert len(cut[0]) == 128


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"inputs": LONG}, 413, "exceeds maximum allowed token size 512"),
        ({"inputs": []}, 422, "inputs.texts: List should have at least 1 item"),
        ({"inputs": [[1, 2]]}, 422, "token ids are not taken: give text"),
        ({"normalize": False}, 422, "gives unit vectors and no other"),
        ({"truncate": "yes"}, 422, "truncate: Input should be a valid boolean"),
        ({"prompt_name": "title"}, 422, "prompt_name"),
        ({"dimensions": 128}, 422, "gives 384 and no other"),
    ],
)
async def test_teis_faults_have_its_words_and_codes(dummy_embedding, serve, changes, code, said):
    async with serve(dummy_embedding()) as client:
        answer = await client.post("/embed", json={"inputs": "x", **changes})
    assert answer.status_code == code
    assert said in answer.json()["error"]
    assert answer.json()["error_type"] == "validation"


async def test_tei_truncates_at_either_end_and_normalizes_what_is_not(dummy_embedding, serve):
    text = "alpha " * 600 + "omega"
    async with serve(dummy_embedding({"normalize": False})) as client:
        right = (await client.post("/embed", json={"inputs": text, "truncate": True})).json()
        left = (await client.post("/embed", json={"inputs": text, "truncate": True, "truncation_direction": "Left",
                                                  "normalize": False})).json()
    assert np.linalg.norm(right[0]) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(left[0]) != pytest.approx(1, abs=0.1)
    assert np.dot(right[0], left[0]) / np.linalg.norm(left[0]) < 1 - 1e-6


async def test_info_and_manifest(dummy_embedding, serve):
    async with serve(dummy_embedding()) as client:
        info = (await client.get("/info")).json()
        manifest = (await client.get("/v1/manifest")).json()
        model = (await client.get("/v1/models")).json()["data"][0]
    assert (info["model_id"], info["model_sha"]) == (MODEL, "8199be6f699a")
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}
    assert (info["max_input_length"], info["max_batch_tokens"] >= 512) == (512, True)
    assert manifest["models"][0] == {"name": MODEL, "revision": "8199be6f699a"}
    assert (model["id"], model["root"], model["ullage"]["dimensions"]) == (MODEL, MODEL, 384)
