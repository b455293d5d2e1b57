"""A real cross-encoder, given as a folder: its logits are those of transformers, whatever batch they were scored in."""

import numpy as np
import pytest

from checkpoints import build, make_checkpoint, make_tokenizer, reference
from ullage import Reranker
from ullage.devices import detect
from ullage.models.resolve import resolve
from ullage.plan import plan_service
from ullage.serve.ranking.app import create_app
from ullage.settings import Settings

QUERY = "what does a ferry cost?"
PASSAGES = ["a ferry costs 4.", "gulls", "the ferry to town costs more in july, they say", "b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("cross") / "model", "bert", labels=1)


@pytest.fixture(scope="module")
def expected(folder):
    model, tokenizer = build("bert", labels=1), make_tokenizer("bert")
    pairs = [tokenizer.encode(QUERY, passage) for passage in PASSAGES]
    return np.array([reference(model, pair.ids, pair.type_ids)["logits"].ravel()[0] for pair in pairs])


def test_logits_are_those_of_transformers_alone_and_together(folder, expected):
    with Reranker(str(folder), memory="600MiB", threads=1) as reranker:
        together = {item.index: item.logit for item in reranker.rank(QUERY, PASSAGES)}
        alone = [reranker.rank(QUERY, [passage])[0].logit for passage in PASSAGES]
    assert np.allclose([together[i] for i in range(len(PASSAGES))], expected, atol=1e-4)
    assert np.allclose(alone, expected, atol=1e-4)


async def test_the_service_says_that_its_scores_stand_alone(folder, expected, serve, tmp_path):
    settings = Settings(cache_dir=tmp_path, ranking_model=str(folder), threads=1)
    card = resolve(str(folder), "ranking")
    app = create_app(settings, plan_service("ranking", card, settings, detect())["ranking"])
    async with serve(app) as client:
        model = (await client.get("/v1/models")).json()["data"][0]
        passages = [{"text": text} for text in PASSAGES]
        body = {"model": model["id"], "query": {"text": QUERY}, "passages": passages, "truncate": "END"}
        rankings = (await client.post("/v1/ranking", json=body)).json()["rankings"]
    assert model["ullage"] == {"kind": "cross-encoder", "scores": "absolute"}
    assert [item["index"] for item in rankings] == [int(i) for i in np.argsort(-expected)]
