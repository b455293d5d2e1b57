"""The order of passages, with the ranking service and without."""

import asyncio

import numpy as np
import pytest
from fastapi import FastAPI

from rag_stubs import found
from ullage.clients.ranking import RankingClient
from ullage.rag.rerank import fused, rerank, shown_score

PASSAGES = [found(text, rank=n, score=0.03 - n / 1000) for n, text in enumerate("abc")]


def ranking_app(logits, scores="absolute", delay_s=0.0) -> FastAPI:
    app = FastAPI()

    async def rank() -> dict:
        await asyncio.sleep(delay_s)
        return {"rankings": [{"index": n, "logit": logit} for n, logit in enumerate(logits)]}

    app.get("/v1/models")(lambda: {"data": [{"id": "m", "ullage": {"scores": scores}}]})
    app.post("/v1/ranking")(rank)
    return app


async def order(url, timeout_s=5.0):
    client = RankingClient(url, timeout_s=timeout_s)
    ranked = await rerank(client, "x", PASSAGES)
    await client.close()
    return "".join(passage.text for passage in ranked.passages), ranked


def test_a_cross_encoders_order_stands_alone():
    assert fused(np.array([0.0, 1.0, 2.0], np.float32), [9.0, 1.0, 0.0], "absolute") == [2, 1, 0]


def test_relative_scores_are_joined_with_retrieval():
    assert fused(np.array([0.0, 1.0, 2.0], np.float32), [9.0, 8.9, 0.0], "relative") == [1, 2, 0]


def test_equal_scores_keep_the_order_of_retrieval():
    assert fused(np.zeros(3, np.float32), [0.1, 0.1, 0.1], "relative") == [0, 1, 2]
    assert fused(np.zeros(3, np.float32), [0.1, 0.2, 0.3], "absolute") == [0, 1, 2]


@pytest.mark.parametrize(("logit", "score"), [(None, 0.0), (0.0, 0.5), (10.0, 1 / (1 + np.exp(-1.0))), (-1e9, 0.0)])
def test_the_score_shown_is_the_contracts_sigmoid(logit, score):
    assert shown_score(logit) == pytest.approx(score)


async def test_logits_decide_and_are_kept(loopback):
    async with loopback(ranking_app([1.0, 3.0, 2.0])) as url:
        text, ranked = await order(url)
    assert text == "bca"
    assert [passage.logit for passage in ranked.passages] == [3.0, 2.0, 1.0]
    assert ranked.degraded == ()


@pytest.mark.parametrize(("most", "least_score", "kept"), [
    (2, 0.0, "bc"), (None, 0.5, "bc"), (1, 0.5, "b"), (5, 0.0, "bca"), (None, 0.9, ""),
])
async def test_only_the_passages_that_count_are_kept(loopback, most, least_score, kept):
    async with loopback(ranking_app([-1.0, 3.0, 2.0])) as url:
        client = RankingClient(url)
        ranked = await rerank(client, "x", PASSAGES, most=most, least_score=least_score)
        await client.close()
    assert "".join(passage.text for passage in ranked.passages) == kept


@pytest.mark.parametrize("logits", [[], [1.0], [1.0, 2.0, "x"]])
async def test_rubbish_leaves_the_order_of_retrieval(loopback, logits):
    async with loopback(ranking_app(logits)) as url:
        text, ranked = await order(url)
    assert (text, ranked.degraded) == ("abc", ("ranking",))
    assert "does not rank 3 passages" in ranked.reason


async def test_a_slow_service_leaves_the_order_of_retrieval(loopback):
    async with loopback(ranking_app([1.0, 3.0, 2.0], delay_s=5)) as url:
        text, ranked = await order(url, timeout_s=0.3)
    assert (text, ranked.degraded) == ("abc", ("ranking",))
    assert "within 0.3 s" in ranked.reason


async def test_a_dead_service_leaves_the_order_of_retrieval(dead_url):
    text, ranked = await order(dead_url)
    assert (text, ranked.degraded) == ("abc", ("ranking",))


async def test_nothing_found_asks_nobody(dead_url):
    client = RankingClient(dead_url)
    assert (await rerank(client, "x", [])).degraded == ()
    await client.close()
