"""The OpenAPI documents name every code with the body of its dialect."""

import pytest

from dummies import cross_encoder_plan
from ullage.devices import detect
from ullage.models.card import find_card
from ullage.plan import plan_service
from ullage.serve.embedding import app as embedding
from ullage.serve.ranking import app as ranking
from ullage.settings import Settings


def document(service, **changes):
    settings = Settings(**changes)
    if service == "ranking":
        return ranking.create_app(settings, cross_encoder_plan(settings)).openapi()
    card = find_card("all-MiniLM-L6-v2", "embedding")
    return embedding.create_app(settings, plan_service("embedding", card, settings, detect())["embedding"]).openapi()


def codes(found, path, method="post"):
    """Code to the name of its body's schema."""
    responses = found["paths"][path][method]["responses"]
    return {int(code): said["content"]["application/json"]["schema"].get("$ref", "").rsplit("/", 1)[-1]
            for code, said in responses.items() if code != "200" and "content" in said}


def test_ranking():
    found = document("ranking")
    nim = dict.fromkeys((400, 404, 413, 422, 500, 503, 504), "NimFault")
    cohere = dict.fromkeys((400, 404, 413, 429, 500, 503, 504), "CohereFault")
    assert codes(found, "/v1/ranking") == codes(found, "/v1/retrieval/{org}/{model}/reranking") == nim
    assert codes(found, "/v1/rerank") == codes(found, "/v2/rerank") == cohere
    assert codes(found, "/") == dict.fromkeys((400, 404, 413, 422, 424, 429, 500, 503, 504), "TeiFault")
    assert codes(found, "/rerank") == dict.fromkeys((400, 404, 413, 422, 424, 429, 500, 503, 504), "EitherFault")
    assert codes(found, "/info", "get") == dict.fromkeys((500, 503), "TeiFault")
    assert codes(found, "/v1/models", "get") == {500: "NimFault"}
    assert list(found["paths"]["/v1/health/live"]["get"]["responses"]) == ["200"]


def test_embedding():
    found = document("embedding")
    assert codes(found, "/v1/embeddings") == dict.fromkeys((400, 404, 413, 422, 500, 503, 504), "OpenAiFault")
    assert codes(found, "/embed") == dict.fromkeys((400, 404, 413, 422, 424, 429, 500, 503, 504), "TeiFault")


def test_older_generations_have_no_422_and_keys_a_401():
    found = document("ranking", nim_version="1.8", api_keys="one")
    assert set(codes(found, "/v1/ranking")) == {400, 401, 404, 413, 500, 503, 504}
    assert set(codes(found, "/v1/models", "get")) == {401, 500}


@pytest.mark.parametrize("service", ["ranking", "embedding"])
def test_every_reference_leads_somewhere_and_nothing_is_left_over(service):
    found = document(service)
    text = str(found)
    schemas = found["components"]["schemas"]
    assert "ValidationError" not in text
    for name in schemas:
        assert f"'#/components/schemas/{name}'" in text
    for reference in {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in schemas


def test_busy_and_away_say_when_to_come_back():
    responses = document("ranking")["paths"]["/v1/rerank"]["post"]["responses"]
    assert [code for code, said in responses.items() if "Retry-After" in said.get("headers", {})] == ["429", "503"]
