"""OpenAI's shape at /chat/completions, and who gets it."""

import json

import pytest

from rag_stubs import Stub, content, parse, prompt, small
from ullage.rag.plain import wants_plain

TUG = "What is the hourly price of the tug from Kettlehaven?"
SAYS = "The hourly price of the tug from Kettlehaven is £1,150. [1]"


@pytest.fixture
async def rag(words_store, tmp_path):
    async with small(words_store, tmp_path) as server:
        yield server


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        ({"model": "m", "messages": []}, True),
        ({"model": "m", "messages": [], "temperature": 0.2, "max_completion_tokens": 9}, True),
        ({"model": "m", "messages": [], "stream": True, "collection_names": ["a"]}, True),
        ({"messages": [], "stream": False}, True),
        ({"messages": []}, False),
        ({"model": "m", "messages": [], "use_knowledge_base": True}, False),
        ({"model": "m", "messages": [], "top_k": 3}, False),
        ([], False),
    ],
)
def test_the_body_says_whose_it_is_unless_a_setting_does(body, plain):
    assert wants_plain(body, "auto") is plain
    assert wants_plain(body, "openai")
    assert not wants_plain(body, "blueprint")


@pytest.mark.parametrize("path", ["/chat/completions", "/v1/chat/completions"])
async def test_a_stream_of_standard_chunks_ends_in_done(rag, path):
    body = prompt(TUG, model="any", stream=True, stream_options={"include_usage": True})
    answer = await rag.http.post(path, json=body)
    events = answer.text.removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    assert all((c["object"], c["model"], c["id"]) == ("chat.completion.chunk", "any", chunks[0]["id"]) for c in chunks)
    *spoken, finish, usage = chunks
    assert "".join(c["choices"][0]["delta"]["content"] for c in spoken) == SAYS
    assert (spoken[0]["choices"][0]["delta"]["role"], finish["choices"][0]) == (
        "assistant", {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"})
    assert (usage["choices"], usage["usage"]["prompt_tokens"] in (0, 90)) == ([], True)
    assert all(c["usage"] is None for c in chunks[:-1])
    assert "message" not in spoken[0]["choices"][0]
    assert spoken[0]["citations"]["total_results"] > 0
    assert finish["grounding"]["sentences"][0]["supported"]


async def test_without_stream_it_is_one_object(rag):
    answer = await rag.http.post("/v1/chat/completions", json=prompt(TUG, model="ullage/rag"))
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"] == {"role": "assistant", "content": SAYS}
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["citations"]["results"][0]["metadata"]["page_number"] == 13


async def test_models_lists_one(rag):
    listed = (await rag.http.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["ullage/rag"]


async def test_what_openai_allows_and_the_blueprint_does_not_is_taken(rag):
    body = {"model": "m", "stop": "END", "temperature": 1.7, "top_p": 0.01, "max_completion_tokens": 40,
            "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": TUG}]}
    assert (await rag.http.post("/v1/chat/completions", json=body)).status_code == 200
    sent = rag.stubs["llm"].bodies[-1]
    assert (sent["stop"], sent["temperature"], sent["max_tokens"]) == (["END"], 1.0, 40)
    assert sent["messages"][0]["content"].endswith("\nBe brief.")


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"messages": []}, 400, "Validation error: messages"),
        ({"tools": [{"type": "function"}]}, 400, "Validation error: tools"),
        ({"response_format": {"type": "json_object"}}, 400, "Validation error: response_format"),
        ({"n": 2}, 400, "Validation error: n"),
        ({"collection_names": ["nope"], "stream": True}, 400, "Collection nope does not exist."),
    ],
)
async def test_errors_are_openais_objects(rag, changes, status, said):
    answer = await rag.http.post("/v1/chat/completions", json={**prompt(TUG, model="m"), **changes})
    assert answer.status_code == status
    assert answer.json()["error"]["message"].startswith(said)


async def test_no_json_at_all_is_the_blueprints_validation_error(rag):
    answer = await rag.http.post("/v1/chat/completions", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert content(parse(answer.text)).startswith("Validation error: body: JSON decode error")


async def test_a_model_that_is_away_degrades_here_too(words_store, tmp_path):
    async with small(words_store, tmp_path, {"llm": Stub("500")}) as rag:
        answer = await rag.http.post("/v1/chat/completions", json=prompt(TUG, model="m"))
    assert answer.headers["x-ullage-degraded"] == "llm"
    assert answer.json()["degraded"] == ["llm"]
