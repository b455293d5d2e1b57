"""The blueprint's contract, read by a parser written from the contract."""

import dataclasses
import json

import httpx
import pytest

from ullage.clients.ranking import RankingClient
from ullage.rag.server import create_app
from ullage.rag.speak import DECLINED
from ullage.store import VectorStore

TUG = "What is the hourly price of the tug from Kettlehaven?"
SAYS = "The hourly price of the tug from Kettlehaven is £1,150."
METRICS = {"rag_ttft_ms", "llm_ttft_ms", "context_reranker_time_ms", "retrieval_time_ms", "llm_generation_time_ms"}
UNKNOWN = "Collection nope does not exist. Ensure a collection is created using POST /collection endpoint first"


def parse(text):
    """Events are `data: {json}` and a blank line; there is no [DONE]."""
    assert text.endswith("\n\n")
    events = text.removesuffix("\n\n").split("\n\n")
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    return [json.loads(event.removeprefix("data: ")) for event in events]


def content(chunks):
    return "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)


def prompt(question=TUG, **more):
    return {"messages": [{"role": "user", "content": question}], **more}


@pytest.fixture
async def client(stack, serve):
    stack.talker.says = SAYS
    async with serve(create_app(stack.settings, clients=stack.clients)) as http:
        yield http


@pytest.mark.parametrize("path", ["/generate", "/v1/generate", "/chat/completions", "/v1/chat/completions"])
async def test_the_stream_has_the_contracts_chunks(client, path):
    answer = await client.post(path, json=prompt(top_k=3, model="any/name"))
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks = parse(answer.text)
    assert content(chunks) == f"{SAYS} [1]"
    for chunk in chunks:
        [choice] = chunk["choices"]
        assert chunk["object"] == "chat.completion.chunk"
        assert (chunk["id"], chunk["model"]) == (chunks[0]["id"], "any/name")
        assert choice["message"]["content"] == choice["delta"]["content"]
        assert (choice["message"]["role"], choice["delta"]["role"]) == ("assistant", None)
        assert (chunk["event_type"], chunk["stage"]) == (None, None)
    *before, last = chunks
    assert before[0]["citations"]["total_results"] == len(before[0]["citations"]["results"]) > 0
    assert all(chunk["choices"][0]["finish_reason"] is None for chunk in before)
    assert all(set(chunk["metrics"].values()) == {None} and chunk["usage"]["total_tokens"] == 0 for chunk in before)
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["citations"] == {"total_results": 0, "results": []}
    assert set(last["metrics"]) == METRICS
    assert None not in last["metrics"].values()
    assert last["degraded"] == []
    assert last["grounding"]["citations"][0]["page_number"] == 13


async def test_a_source_has_the_contracts_fields(client):
    found = (await client.post("/v1/search", json={"query": TUG, "reranker_top_k": 2})).json()
    assert found["total_results"] == len(found["results"]) == 2
    first = found["results"][0]
    assert {"document_id", "content", "document_name", "document_type", "score", "stage", "metadata"} <= set(first)
    assert (first["document_name"], first["stage"], first["document_id"]) == ("plan.pdf", "rag", "")
    assert first["metadata"]["page_number"] == first["metadata"]["content_metadata"]["page_number"] == 13
    assert 0 < first["score"] < 1
    assert first["metadata"]["logit"] > found["results"][1]["metadata"]["logit"]


async def test_search_takes_parts_or_the_last_user_message(client):
    parts = {"query": [{"type": "text", "text": TUG}], "reranker_top_k": 1}
    message = {"messages": [{"role": "user", "content": TUG}], "reranker_top_k": 1}
    found = [(await client.post("/search", json=body)).json()["results"][0]["content"] for body in (parts, message)]
    assert found[0] == found[1]


async def test_an_unanswerable_question_is_declined_in_the_stream(client, stack):
    chunks = parse((await client.post("/generate", json=prompt("What is the boiling point of ethanol?"))).text)
    assert content(chunks) == DECLINED
    assert chunks[-1]["grounding"]["declined"] is True
    assert chunks[-1]["metrics"]["llm_ttft_ms"] is None
    assert stack.talker.prompts == []


async def test_citations_can_be_switched_off(client):
    chunks = parse((await client.post("/generate", json=prompt(enable_citations=False))).text)
    assert all(chunk["citations"]["results"] == [] for chunk in chunks)


async def test_a_dead_reranker_is_told_in_header_and_body(stack, serve, dead_url):
    stack.talker.says = SAYS
    stack.clients = dataclasses.replace(stack.clients, ranking=RankingClient(dead_url, timeout_s=2))
    async with serve(create_app(stack.settings, clients=stack.clients)) as http:
        answer = await http.post("/generate", json=prompt())
        found = await http.post("/search", json={"query": TUG})
    assert answer.status_code == found.status_code == 200
    assert answer.headers["x-ullage-degraded"] == found.headers["x-ullage-degraded"] == "ranking"
    assert parse(answer.text)[-1]["degraded"] == found.json()["degraded"] == ["ranking"]
    assert found.json()["results"][0]["score"] == 0.0


@pytest.mark.parametrize("path", ["/generate", "/v1/search"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vdb_top_k": 3, "reranker_top_k": 4}, "reranker_top_k=4 must be less than or equal to vdb_top_k=3"),
        ({"collection_names": list("abcdef")}, "Only 5 collections are supported at a time."),
        ({"collection_names": ["a", "b"], "enable_reranker": False},
         "Reranking is not enabled but multiple collection names are provided."),
        ({"collection_names": ["nope"]}, UNKNOWN),
        ({"filter_expr": "x == 1"}, "Invalid filter expression: expected content_metadata"),
        ({"filter_expr": [{"term": {"a": 1}}]}, "Invalid filter expression: filter_expr is a list of Elasticsearch"),
        ({"reranker_endpoint": "http://else:1"}, "reranker_endpoint=http://else:1 is refused: this server uses"),
        ({"vdb_endpoint": "http://elsewhere:1"}, "vdb_endpoint=http://elsewhere:1 is refused: this server uses"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_with_400(client, path, changes, said):
    answer = await client.post(path, json=prompt(query=TUG, **changes))
    assert answer.status_code == 400
    message = content(parse(answer.text)) if path == "/generate" else answer.json()["message"]
    assert message.startswith(said)
    assert "\n" not in message


@pytest.mark.parametrize(
    "changes",
    [{"enable_guardrails": True}, {"enable_vlm_inference": True}, {"agentic": True},
     {"llm_endpoint": "elsewhere:1"}, {"vlm_endpoint": "x"},
     {"fetch_neighboring_pages": 1}, {"vlm_filter_thinking_tokens": False}],
)
async def test_generation_it_cannot_do_is_refused_by_name(client, changes):
    answer = await client.post("/generate", json=prompt(**changes))
    assert answer.status_code == 400
    [name] = changes
    assert content(parse(answer.text)).startswith(name)


async def test_the_served_endpoint_may_be_named(client, stack):
    url = stack.settings.url("llm").removeprefix("http://") + "/v1"
    assert (await client.post("/generate", json=prompt(llm_endpoint=url, agentic=False))).status_code == 200


@pytest.mark.parametrize("path", ["/generate", "/search", "/v1/chat/completions"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vdb_top_k": 0}, "vdb_top_k: Input should be greater than or equal to 1"),
        ({"reranker_top_k": 26}, "reranker_top_k: Input should be less than or equal to 25"),
        ({"confidence_threshold": 1.5}, "confidence_threshold"),
    ],
)
async def test_a_bad_field_is_a_422_streamed_in_fives(client, path, changes, said):
    answer = await client.post(path, json=prompt(query=TUG, **changes))
    assert answer.status_code == 422
    chunks = parse(answer.text)
    assert content(chunks).startswith(f"Validation error: {said}")
    assert all(len(chunk["choices"][0]["delta"]["content"]) == 5 for chunk in chunks[:-2])
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": " "}],
        [{"role": "assistant", "content": "x"}],
        [{"role": "tool", "content": "x"}],
    ],
)
async def test_messages_must_end_with_a_question(client, messages):
    answer = await client.post("/generate", json={"messages": messages})
    assert answer.status_code == 422
    assert content(parse(answer.text)).startswith("Validation error: messages")


async def test_without_documents_the_model_speaks_unchecked_and_it_is_said(client):
    chunks = parse((await client.post("/generate", json=prompt("Hello!", use_knowledge_base=False))).text)
    assert content(chunks) == SAYS
    assert chunks[-1]["grounding"]["checked"] is False
    assert chunks[-1]["usage"]["prompt_tokens"] == 90


async def test_a_model_that_is_away_is_a_503_where_only_it_could_answer(client, stack):
    stack.talker.status = 503
    answer = await client.post("/generate", json=prompt("Hello!", use_knowledge_base=False))
    assert answer.status_code == 503
    assert parse(answer.text)[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_configuration_has_the_contracts_parts(client, stack, prefix):
    body = (await client.get(f"{prefix}/configuration")).json()
    assert set(body) == {"rag_configuration", "feature_toggles", "models", "endpoints"}
    assert body["rag_configuration"]["vdb_top_k"] == stack.settings.retrieve_top_k
    assert body["feature_toggles"]["enable_reranker"] is True


async def test_health_is_200_and_tells_the_truth_when_asked(client, stack):
    plain = (await client.get("/health")).json()
    assert plain == {"message": "Service is up.", "databases": [], "object_storage": [], "nim": []}
    body = (await client.get("/v1/health", params={"check_dependencies": True})).json()
    assert (body["databases"][0]["service"], body["databases"][0]["status"]) == ("Milvus", "healthy")
    assert body["databases"][0]["collections"] == 1
    status = {item["service"]: item["status"] for item in body["nim"]}
    assert status == {"LLM": "healthy", "Embeddings": "unhealthy", "Ranking": "unhealthy"}
    assert body["object_storage"][0]["status"] == "skipped"


async def test_answers_are_counted(client):
    await client.post("/generate", json=prompt())
    series = (await client.get("/metrics")).text
    assert "api_requests_total 1.0" in series
    assert "rag_ttft_ms_count 1.0" in series


async def test_ready_without_the_embedder_but_not_without_the_database(stack, dead_url, serve):
    from ullage.clients.embedding import EmbeddingClient

    clients = dataclasses.replace(stack.clients, embedding=EmbeddingClient(dead_url, timeout_s=1))
    async with serve(create_app(stack.settings, clients=clients)) as http:
        answer = await http.post("/generate", json=prompt())
    assert answer.headers["x-ullage-degraded"].split(",")[0] == "embedding"
    nothing = dataclasses.replace(clients, vectors=VectorStore(dead_url, timeout_s=1))
    app = create_app(stack.settings, clients=nothing)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://rag") as http:
        ready = await http.get("/v1/health/ready")
        asked = await http.post("/generate", json=prompt())
    assert ready.status_code == asked.status_code == 503
    assert content(parse(asked.text)).startswith("rag is not ready")
    await nothing.embedding.close()
