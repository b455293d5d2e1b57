"""The ranking client against the real service and against ones that answer rubbish."""

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from ullage.clients.ranking import RankingClient
from ullage.devices import detect
from ullage.errors import DeadlineExceeded, DependencyDown, TooLong
from ullage.models.card import find_card
from ullage.plan import plan_service
from ullage.serve.ranking.app import create_app
from ullage.settings import Settings

PASSAGES = ["The cafeteria opens at seven.", "Fast charging is cut off at 48 degrees.", "Chargers are tested yearly."]


@pytest.fixture
def app(model_cache):
    settings = Settings(cache_dir=model_cache, threads=1)
    card = find_card("ullage/minilm-fusion-ranker", "ranking")
    return create_app(settings, plan_service("ranking", card, settings, detect())["ranking"])


def client(app, **options) -> RankingClient:
    return RankingClient("http://ranking", transport=httpx.ASGITransport(app), **options)


def answering(body, listed=None) -> FastAPI:
    app = FastAPI()
    app.get("/v1/models")(lambda: {"data": [listed or {"id": "m"}]})
    app.post("/v1/ranking")(lambda: body)
    return app


async def test_logits_come_in_the_order_of_the_passages(app, serve):
    async with serve(app):
        ranking = client(app)
        logits = await ranking.rank("When does fast charging stop?", PASSAGES)
        turned = await ranking.rank("When does fast charging stop?", PASSAGES[::-1])
        assert await ranking.scale() == "relative"
        await ranking.close()
    assert int(np.argmax(logits)) == 1
    assert np.array_equal(logits, turned[::-1])


async def test_a_long_passage_is_cut_and_a_long_query_refused(app, serve):
    async with serve(app):
        ranking = client(app)
        assert len(await ranking.rank("charging?", ["charging " * 700, "tea"])) == 2
        with pytest.raises(TooLong, match="exceeds maximum allowed token size"):
            await ranking.rank("charging " * 700, ["tea"])
        await ranking.close()


async def test_no_passages_ask_nothing():
    ranking = client(answering({}))
    assert (await ranking.rank("x", [])).shape == (0,)
    await ranking.close()


async def test_a_service_that_does_not_say_is_taken_for_a_cross_encoder():
    ranking = client(answering({}))
    assert await ranking.scale() == "absolute"
    await ranking.close()


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"rankings": []},
        {"rankings": [{"index": 0, "logit": 1.0}, {"index": 0, "logit": 2.0}]},
        {"rankings": [{"index": 0, "logit": 1.0}, {"index": 2, "logit": 2.0}]},
        {"rankings": [{"index": 0, "logit": "high"}, {"index": 1, "logit": 2.0}]},
        {"rankings": [{"index": 0, "logit": "nan"}, {"index": 1, "logit": 2.0}]},
    ],
)
async def test_rubbish_is_called_rubbish(body):
    ranking = client(answering(body))
    with pytest.raises(DependencyDown, match="does not rank 2 passages"):
        await ranking.rank("x", ["a", "b"])
    await ranking.close()


async def test_a_service_that_hangs_costs_no_more_than_the_timeout():
    ranking = RankingClient("http://ranking", model="m", timeout_s=0.2, transport=_Silent())
    with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
        await ranking.rank("x", ["a"])
    await ranking.close()


class _Silent(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("silence", request=request)
