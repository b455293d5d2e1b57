"""`POST /v1/ranking` as the contract has it, over the bundled model."""

import pytest

from ullage.devices import detect
from ullage.models.card import find_card
from ullage.plan import plan_service
from ullage.serve.ranking.app import create_app
from ullage.settings import Settings

MODEL = "ullage/minilm-fusion-ranker"
PASSAGES = [
    "The cafeteria opens at seven and serves porridge.",
    "Cell temperature must stay below 35 degrees; fast charging is cut off at 48 degrees.",
    "Chargers are load tested once a year.",
]


@pytest.fixture
def app(model_cache):
    settings = Settings(cache_dir=model_cache, threads=1)
    planned = plan_service("ranking", find_card(MODEL, "ranking"), settings, detect())["ranking"]
    return create_app(settings, planned)


def body(**changes):
    request = {"model": MODEL, "query": {"text": "When does fast charging stop?"},
               "passages": [{"text": text} for text in PASSAGES]}
    return {**request, **changes}


async def test_every_passage_comes_back_once_sorted_by_logit(app, serve):
    async with serve(app) as client:
        answer = await client.post("/v1/ranking", json=body())
    assert answer.status_code == 200
    rankings = answer.json()["rankings"]
    assert rankings[0]["index"] == 1
    assert sorted(item["index"] for item in rankings) == [0, 1, 2]
    logits = [item["logit"] for item in rankings]
    assert logits == sorted(logits, reverse=True)
    usage = answer.json()["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] > 30
    assert "tokenize;dur=" in answer.headers["server-timing"]


async def test_the_order_of_the_request_changes_no_score(app, serve):
    async with serve(app) as client:
        first = (await client.post("/v1/ranking", json=body())).json()["rankings"]
        turned = [{"text": text} for text in reversed(PASSAGES)]
        second = (await client.post("/v1/ranking", json=body(passages=turned))).json()["rankings"]
    assert {item["index"]: item["logit"] for item in first} == {2 - item["index"]: item["logit"] for item in second}


async def test_a_long_passage_is_refused_or_cut_and_said(app, serve):
    long = "charging " * 700
    async with serve(app) as client:
        refused = await client.post("/v1/ranking", json=body(passages=[{"text": "a"}, {"text": long}]))
        cut = await client.post("/v1/ranking", json=body(passages=[{"text": "a"}, {"text": long}], truncate="END"))
        query = await client.post("/v1/ranking", json=body(query={"text": long}, truncate="END"))
    assert refused.status_code == 422
    assert refused.json()["message"] == "Input length 702 exceeds maximum allowed token size 512"
    assert cut.status_code == 200
    assert cut.headers["x-ullage-truncated"] == '{"1":190}'
    assert query.status_code == 422
    assert "exceeds maximum allowed token size 512 (the query alone)" in query.json()["message"]


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"query": {"text": ""}}, 422, "query.text: String should have at least 1 character"),
        ({"query": {"text": " \n"}}, 422, "query.text: Value error, must hold more than white space"),
        ({"passages": []}, 422, "passages: List should have at least 1 item"),
        ({"passages": [{"text": "x"}] * 513}, 422, "passages: List should have at most 512 items"),
        ({"passages": [{"text": "x"}, {"text": ""}]}, 422, "passages.1.text"),
        ({"passages": ["x"]}, 422, "passages.0"),
        ({"top_k": 3}, 422, "top_k: unknown field"),
        ({"truncate": "START"}, 422, "'NONE' or 'END'"),
        ({"model": "other"}, 404, f"model 'other' is not served here: {MODEL} is"),
    ],
)
async def test_bad_requests_are_refused_in_one_line(app, serve, changes, status, said):
    async with serve(app) as client:
        answer = await client.post("/v1/ranking", json=body(**changes))
        assert (await client.post("/v1/ranking", json=body())).status_code == 200
    assert answer.status_code == status
    assert said in answer.json()["message"]
    assert "\n" not in answer.json()["message"]


async def test_the_scheduler_is_in_the_metrics_and_the_card_in_models(app, serve):
    async with serve(app) as client:
        await client.post("/v1/ranking", json=body())
        metrics = (await client.get("/v1/metrics")).text
        [model] = (await client.get("/v1/models")).json()["data"]
    rows = [line for line in metrics.splitlines() if line.startswith("ullage_scheduler_rows_total")]
    assert float(rows[0].split()[1]) >= len(PASSAGES) + 1
    assert model["ullage"] == {"kind": "fusion", "scores": "relative"}


async def test_it_answers_to_the_name_it_was_given(model_cache, serve):
    settings = Settings(cache_dir=model_cache, threads=1, ranking_served_name="our-reranker")
    planned = plan_service("ranking", find_card(MODEL, "ranking"), settings, detect())["ranking"]
    async with serve(create_app(settings, planned)) as client:
        assert "our-reranker" in [model["id"] for model in (await client.get("/v1/models")).json()["data"]]
        assert (await client.post("/v1/ranking", json=body(model="our-reranker"))).status_code == 200
        refused = await client.post("/v1/ranking", json=body(model="another"))
        assert refused.status_code == 404
        assert "our-reranker" in refused.json()["message"]
