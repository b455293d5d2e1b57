"""NIM's routes of ranking on a model whose logits stand alone: codes by generation, truth in headers, windows."""

import asyncio
import json

import pytest

from ullage.engines.dummy import DummyEngine
from ullage.errors import EngineFailed
from ullage.models.card import find_card
from ullage.models.files import locate
from ullage.models.tokenize import Tokenizer
from ullage.serve.ranking.fit import windows
from ullage.settings import Settings

MODEL = "ullage/minilm-fusion-ranker"
QUERY = "which pier?"
LONG = "charging " * 700
PASSAGES = ["the north pier", LONG, "gulls"]


def body(passages=PASSAGES, **changes):
    request = {"model": MODEL, "query": {"text": QUERY}, "passages": [{"text": text} for text in passages]}
    return {**request, **changes}


def logits(answer):
    assert answer.status_code == 200, answer.text
    return {item["index"]: item["logit"] for item in answer.json()["rankings"]}


@pytest.mark.parametrize(("version", "code"), [("1.8", 400), ("1.9", 400), ("1.10", 422), ("2.0", 422)])
async def test_codes_of_each_nim_version(dummy_ranking, serve, version, code):
    async with serve(dummy_ranking(nim_version=version)) as client:
        long = await client.post("/v1/ranking", json=body())
        wrong = await client.post("/v1/ranking", json=body(top_k=3))
        unknown = await client.post("/v1/ranking", json=body(model="nobody"))
        told = (await client.get("/v1/version")).json()
    assert (long.status_code, wrong.status_code, unknown.status_code) == (code, code, 404)
    assert long.json() == {"object": "error", "message": "Input length 706 exceeds maximum allowed token size 512",
                           "detail": {}, "type": "invalid_request_error"}
    assert wrong.json()["message"] == "top_k: unknown field"
    assert told["api"] == f"{version}.0"


@pytest.mark.parametrize("truncate", ["NONE", None])
async def test_without_truncation_a_long_row_is_refused(dummy_ranking, serve, truncate):
    async with serve(dummy_ranking()) as client:
        answer = await client.post("/v1/ranking", json=body(truncate=truncate))
    assert answer.status_code == 422
    assert "exceeds maximum allowed token size 512" in answer.json()["message"]


async def test_end_cuts_the_passage_alone_and_says_what_it_cut(dummy_ranking, serve):
    engine = DummyEngine()
    async with serve(dummy_ranking(engine)) as client:
        answer = await client.post("/v1/ranking", json=body(truncate="END"))
        same = await client.post("/v1/ranking", json=body(["charging " * 506], truncate="NONE"))
    assert logits(answer)[1] == logits(same)[0]  # [CLS] which pier ? [SEP] 506 tokens [SEP]
    assert json.loads(answer.headers["x-ullage-tokens"]) == [9, 512, 8]
    assert json.loads(answer.headers["x-ullage-truncated"]) == {"1": 194}
    assert "x-ullage-truncated" not in same.headers
    assert answer.json()["usage"] == {"prompt_tokens": 529, "total_tokens": 529}


@pytest.mark.parametrize("truncate", ["NONE", "END"])
async def test_a_query_that_leaves_no_room_is_refused_whatever_is_asked(dummy_ranking, serve, truncate):
    async with serve(dummy_ranking()) as client:
        answer = await client.post("/v1/ranking", json=body(["x"], query={"text": LONG}, truncate=truncate))
    assert answer.status_code == 422
    assert answer.json()["message"] == "Input length 703 exceeds maximum allowed token size 512 (the query alone)"


async def test_windows_score_as_their_best_one_does_alone(dummy_ranking, serve):
    words = [f"word{n % 97}" for n in range(900)]
    text = " ".join(words)
    async with serve(dummy_ranking()) as client:
        answer = await client.post("/v1/ranking", json=body([text, "gulls"]), headers={"X-Ullage-Long": "window"})
        whole = logits(answer)
        parts = json.loads(answer.headers["x-ullage-windows"])["0"]
        alone = [logits(await client.post("/v1/ranking", json=body([part])))[0]
                 for part in windows_of(text)]
        gulls = logits(await client.post("/v1/ranking", json=body(["gulls"])))[0]
    assert len(alone) == parts > 2
    assert whole[0] == pytest.approx(max(alone), abs=1e-6)
    assert max(alone) > min(alone)
    assert whole[1] == gulls
    assert "x-ullage-truncated" not in answer.headers


def windows_of(text):
    """The texts of a passage's windows, cut out of it by the offsets of its tokens."""
    tokenizer = Tokenizer(locate(find_card(MODEL, "ranking"), Settings().cache_dir)["tokenizer"])
    for row in windows(tokenizer.encode_pairs(QUERY, [text], offsets=True)[0], 512).rows:
        places = row.offsets[row.segment == 1]
        yield text[places[0][0] : places[-1][1]]


async def test_an_unknown_wish_for_long_passages_is_refused(dummy_ranking, serve):
    async with serve(dummy_ranking()) as client:
        answer = await client.post("/v1/ranking", json=body(["x"]), headers={"X-Ullage-Long": "split"})
    assert answer.status_code == 422
    assert "X-Ullage-Long" in answer.json()["message"]


async def test_phases_and_revision_are_told_and_counted(dummy_ranking, serve):
    async with serve(dummy_ranking()) as client:
        answer = await client.post("/v1/ranking", json=body(["x"]))
        metrics = (await client.get("/v1/metrics")).text
    phases = [part.split(";dur=") for part in answer.headers["server-timing"].split(", ")]
    assert [name for name, _ in phases] == ["tokenize", "queue", "compute"]
    assert all(float(ms) >= 0 for _, ms in phases)
    assert answer.headers["x-ullage-model-revision"] == "8199be6f699a"
    for phase in ("tokenize", "queue", "compute"):
        assert f'ullage_phase_seconds_count{{phase="{phase}"}} 1.0' in metrics
    labels = '{model="ullage_minilm_fusion_ranker",version="1"}'
    assert f"nv_inference_request_success{labels} 1.0" in metrics
    assert f"nv_inference_exec_count{labels} 2.0" in metrics  # the proof of readiness ran one


async def test_equal_logits_keep_the_requests_order_and_every_passage_comes_back(dummy_ranking, serve):
    async with serve(dummy_ranking()) as client:
        answer = await client.post("/v1/ranking", json=body(["a", "b", "a", "a"]))
    assert sorted(logits(answer)) == [0, 1, 2, 3]
    order = [item["index"] for item in answer.json()["rankings"]]
    assert [index for index in order if index != 1] == [0, 2, 3]


async def test_a_blank_passage_is_no_fault_and_an_empty_one_is(dummy_ranking, serve):
    async with serve(dummy_ranking()) as client:
        assert sorted(logits(await client.post("/v1/ranking", json=body(["a", " \n"])))) == [0, 1]
        empty = await client.post("/v1/ranking", json=body(["a", ""]))
    assert empty.status_code == 422
    assert "passages.1.text" in empty.json()["message"]


@pytest.mark.parametrize(
    ("path", "changes", "code"),
    [
        ("ullage/minilm-fusion-ranker", {}, 200),
        ("ullage/minilm_fusion_ranker", {"model": None}, 200),
        ("ullage/minilm-fusion-ranker", {"model": "ullage/minilm.fusion.ranker", "top_k": 2}, 200),
        ("ullage/minilm-fusion-ranker", {"model": "nobody"}, 404),
        ("nvidia/minilm-fusion-ranker", {}, 404),
        ("ullage/minilm-fusion-ranker", {"top_k": 0}, 422),
    ],
)
async def test_the_hosted_path_names_the_model_and_takes_top_k(dummy_ranking, serve, path, changes, code):
    async with serve(dummy_ranking()) as client:
        answer = await client.post(f"/v1/retrieval/{path}/reranking", json=body(["a", "b", "c"], **changes))
        plain = await client.post("/v1/ranking", json=body(["a", "b", "c"]))
    assert answer.status_code == code
    if code == 200:
        assert answer.json()["rankings"] == plain.json()["rankings"][: changes.get("top_k")]


async def test_a_full_queue_says_when_to_come_back(dummy_ranking, serve):
    engine = DummyEngine(tokens_per_s=2000)
    async with serve(dummy_ranking(engine, queue_requests=1)) as client:
        first = asyncio.create_task(client.post("/v1/ranking", json=body(["a " * 400])))
        await asyncio.sleep(0.1)
        nim = await client.post("/v1/ranking", json=body(["b"]))
        cohere = await client.post("/v2/rerank", json={"query": "q", "documents": ["b"]})
        assert (await first).status_code == 200
    assert (nim.status_code, cohere.status_code) == (503, 429)
    assert int(nim.headers["retry-after"]) >= 1
    assert int(cohere.headers["retry-after"]) >= 1
    assert nim.json()["type"] == "overloaded"


async def test_a_failed_engine_is_a_500_and_teis_424(dummy_ranking, serve):
    def fail(batch):
        if batch.tokens > 100:
            raise EngineFailed("broken")

    async with serve(dummy_ranking(DummyEngine(fail=fail))) as client:
        nim = await client.post("/v1/ranking", json=body(["a " * 200]))
        tei = await client.post("/", json={"query": "q", "texts": ["a " * 200]})
    assert (nim.status_code, nim.json()["type"]) == (500, "engine_failed")
    assert (tei.status_code, tei.json()["error_type"]) == (424, "backend")


async def test_manifest_and_licence(dummy_ranking, serve):
    async with serve(dummy_ranking()) as client:
        manifest = (await client.get("/v1/manifest")).json()
        licence = (await client.get("/v1/license")).json()
        metadata = (await client.get("/v1/metadata")).json()
        shorter = await client.get("/openapi.json")
    assert manifest["models"] == [{"name": MODEL, "revision": "8199be6f699a"}]
    assert manifest["service"] == "ranking"
    assert manifest["profile"].startswith("cpu-")
    assert manifest["planned_bytes"] > 1 << 20
    assert set(licence) == {"name", "path", "sha", "size", "url", "type", "content"}
    assert licence["name"] == "Apache-2.0"
    assert metadata["licenseInfo"] == licence
    assert metadata["modelInfo"][0]["shortName"] == "minilm-fusion-ranker:8199be6f699a"
    assert (shorter.status_code, shorter.headers["location"]) == (307, "/v1/openapi.json")
