"""Cohere's, Jina's and TEI's bodies over the same handler as NIM's."""

import json
import math

import pytest

MODEL = "ullage/minilm-fusion-ranker"
QUERY = "which pier?"
DOCUMENTS = ["the north pier", "gulls", "the pier of the ferry to town"]
LONG = "charging " * 700


def ask(**changes):
    return {"query": QUERY, "documents": DOCUMENTS, **changes}


async def nim_logits(client, texts=DOCUMENTS, **changes):
    request = {"model": MODEL, "query": {"text": QUERY}, "passages": [{"text": text} for text in texts], **changes}
    rankings = (await client.post("/v1/ranking", json=request)).json()["rankings"]
    return {item["index"]: item["logit"] for item in rankings}


@pytest.mark.parametrize(("path", "version"), [("/v1/rerank", "1"), ("/v2/rerank", "2"), ("/rerank", "1")])
async def test_cohere_and_jina_get_relevance_in_the_order_of_logits(dummy_ranking, serve, path, version):
    async with serve(dummy_ranking()) as client:
        answer = (await client.post(path, json=ask(model=MODEL))).json()
        logits = await nim_logits(client)
    results = answer["results"]
    assert {item["index"]: item["logit"] for item in results} == logits
    for item in results:
        assert item["relevance_score"] == pytest.approx(1 / (1 + math.exp(-item["logit"])))
        assert item["truncated"] is False
        assert "document" not in item
    assert [item["logit"] for item in results] == sorted(logits.values(), reverse=True)
    assert answer["object"] == "list"
    assert answer["model"] == MODEL
    assert answer["usage"]["total_tokens"] == sum(item["tokens"] for item in results)
    assert answer["meta"]["api_version"] == {"version": version, "is_experimental": False}
    assert answer["meta"]["billed_units"] == {"search_units": 1}
    assert answer["meta"]["ullage"] == {"revision": "8199be6f699a"}
    assert len(answer["id"]) == 36


async def test_top_n_and_documents_given_back_as_they_came(dummy_ranking, serve):
    documents = [{"text": text, "title": str(place), "tags": [place, None]} for place, text in enumerate(DOCUMENTS)]
    async with serve(dummy_ranking()) as client:
        some = (await client.post("/v2/rerank", json=ask(top_n=2))).json()
        whole = (await client.post("/v1/rerank", json=ask(documents=documents, return_documents=True))).json()
        texts = (await client.post("/v1/rerank", json=ask(return_documents=True))).json()
    assert len(some["results"]) == 2
    assert all(item["document"] == documents[item["index"]] for item in whole["results"])
    assert all(item["document"] == {"text": DOCUMENTS[item["index"]]} for item in texts["results"])


async def test_documents_are_cut_unless_asked_otherwise(dummy_ranking, serve):
    async with serve(dummy_ranking()) as client:
        cut = (await client.post("/v2/rerank", json=ask(documents=[LONG]))).json()["results"][0]
        shorter = (await client.post("/v2/rerank", json=ask(documents=[LONG], max_tokens_per_doc=100))).json()
        refused = await client.post("/v1/rerank", json=ask(documents=[LONG], truncation=False))
        best = (await client.post("/v1/rerank", json=ask(documents=[LONG], max_chunks_per_doc=2))).json()["results"][0]
        one = (await client.post("/v1/rerank", json=ask(documents=[LONG], max_chunks_per_doc=1))).json()["results"][0]
    assert (cut["tokens"], cut["truncated"]) == (512, True)
    assert (shorter["results"][0]["tokens"], shorter["results"][0]["truncated"]) == (106, True)
    assert refused.status_code == 400
    assert "exceeds maximum allowed token size 512" in refused.json()["message"]
    assert (best["tokens"] > 700, best["truncated"]) == (True, False)
    assert (one["tokens"], one["truncated"], one["logit"]) == (512, True, cut["logit"])


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"query": " "}, 400, "query: Value error, must hold more than white space"),
        ({"documents": []}, 400, "documents: List should have at least 1 item"),
        ({"documents": ["x", ""]}, 400, "documents.1.text: String should have at least 1 character"),
        ({"documents": ["x", 3]}, 400, "documents.1.object"),
        ({"documents": [{"title": "no text"}]}, 400, "documents.0.object.text: Field required"),
        ({"documents": [{"text": "x", "a": "\ud800"}]}, 400, "a field of this document is not Unicode text"),
        ({"top_n": 0}, 400, "top_n"),
        ({"top_n": True}, 400, "top_n: Input should be a valid integer"),
        ({"rank_fields": ["title"]}, 400, "rank_fields"),
        ({"priority": 3}, 400, "priority"),
        ({"return_embeddings": True}, 400, "a ranking has no embeddings to give"),
        ({"return_embeddings": 0}, 400, "return_embeddings: Input should be a valid boolean"),
        ({"topn": 3}, 400, "topn: unknown field"),
        ({"model": "nobody"}, 404, "model 'nobody' is not served here"),
        ({"query": LONG}, 400, "exceeds maximum allowed token size 512 (the query alone)"),
    ],
)
async def test_faults_are_one_line_in_message_and_detail(dummy_ranking, serve, path, changes, code, said):
    content = json.dumps(ask(**changes))  # ASCII: httpx would refuse to send a lone surrogate
    async with serve(dummy_ranking()) as client:
        answer = await client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == code
    assert said in answer.json()["message"]
    assert answer.json()["detail"] == answer.json()["message"]


@pytest.mark.parametrize("path", ["/", "/rerank"])
async def test_tei_gets_a_bare_list(dummy_ranking, serve, path):
    async with serve(dummy_ranking()) as client:
        logits = await nim_logits(client)
        scores = (await client.post(path, json={"query": QUERY, "texts": DOCUMENTS})).json()
        raw = (await client.post(path, json={"query": QUERY, "texts": DOCUMENTS, "raw_scores": True,
                                             "return_text": True})).json()
    assert {item["index"]: item["score"] for item in raw} == logits
    assert [item["text"] for item in raw] == [DOCUMENTS[item["index"]] for item in raw]
    assert [item["index"] for item in scores] == [item["index"] for item in raw]
    assert all(set(item) == {"index", "score"} for item in scores)
    assert all(item["score"] == pytest.approx(1 / (1 + math.exp(-logits[item["index"]]))) for item in scores)


@pytest.mark.parametrize("path", ["/", "/rerank"])
async def test_tei_refuses_or_cuts_what_is_too_long(dummy_ranking, serve, path):
    async with serve(dummy_ranking()) as client:
        refused = await client.post(path, json={"query": QUERY, "texts": [LONG]})
        cut = await client.post(path, json={"query": QUERY, "texts": [LONG], "truncate": True})
    assert refused.status_code == 413
    assert refused.json()["error_type"] == "validation"
    assert "exceeds maximum allowed token size 512" in refused.json()["error"]
    assert cut.headers["x-ullage-truncated"] == '{"0":194}'


async def test_teis_own_path_answers_a_fault_with_its_own_code(dummy_ranking, serve):
    async with serve(dummy_ranking()) as client:
        answer = await client.post("/", json={"query": QUERY, "texts": [], "top": 1})
    assert answer.status_code == 422
    assert answer.json()["error"] == "texts: List should have at least 1 item after validation, not 0 (got []); " \
                                     "top: unknown field"


async def test_info_says_what_teis_clients_read(dummy_ranking, serve):
    async with serve(dummy_ranking()) as client:
        info = (await client.get("/info")).json()
    assert info["model_id"] == MODEL
    assert info["model_sha"] == "8199be6f699a"
    assert info["max_input_length"] == 512
    assert info["max_client_batch_size"] == 10_000
    assert "reranker" in info["model_type"]


async def test_units_are_counted_as_cohere_counts(dummy_ranking, serve):
    async with serve(dummy_ranking()) as client:
        answer = (await client.post("/v2/rerank", json=ask(documents=["a"] * 101))).json()
    assert answer["meta"]["billed_units"] == {"search_units": 2}
