"""Every override of a request is honoured or refused in one line; and what the settings switch on."""

import dataclasses
import json

import pytest

from rag_stubs import Stub, content, parse, prompt, small
from ullage.errors import RequestError
from ullage.rag.connections import connect
from ullage.rag.guard import REFUSED
from ullage.rag.pipeline import Rag
from ullage.rag.question import without_each_term
from ullage.rag.request import asked_to_answer, asked_to_find
from ullage.rag.schema import DocumentSearch, Prompt
from ullage.rag.speak import DECLINED
from ullage.rag.thoughts import Aloud
from ullage.settings import Settings

TUG = "What is the hourly price of the tug from Kettlehaven?"
SAYS = "The hourly price of the tug from Kettlehaven is £1,150."
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


@pytest.fixture
async def asking(tmp_path):
    """Asked of a request's body, for given settings; nothing is sent."""
    opened = []

    def asked(body, **settings):
        made = Settings(state_dir=tmp_path, cache_dir=tmp_path, vectors_uri=str(tmp_path / "none.db"), **settings)
        rag = Rag(made, connect(made))
        opened.append(rag)
        return asked_to_answer(rag, Prompt.model_validate({"messages": [{"role": "user", "content": TUG}], **body}))

    yield asked
    for rag in opened:
        await rag.connections.close()


@pytest.mark.parametrize(
    ("body", "read", "value"),
    [
        ({"temperature": 0.3}, lambda a: a.speech.temperature, 0.3),
        ({"top_p": 0.5}, lambda a: a.speech.top_p, 0.5),
        ({"max_tokens": 7}, lambda a: a.speech.max_tokens, 7),
        ({"max_tokens": 0}, lambda a: a.speech.max_tokens, 128),
        ({"stop": ["x"]}, lambda a: a.speech.stop, ("x",)),
        ({"ignore_eos": True, "min_tokens": 9, "max_tokens": 9}, lambda a: a.speech.extra, {"ignore_eos": True}),
        ({"ignore_eos": True}, lambda a: a.speech.whole, True),
        ({"vdb_top_k": 33, "reranker_top_k": 4}, lambda a: (a.retrieve_top_k, a.rerank_top_k), (33, 4)),
        ({"collection_names": ["a", "b", "a"]}, lambda a: a.collections, ("a", "b")),
        ({"enable_reranker": False}, lambda a: a.rerank, False),
        ({"enable_query_rewriting": False}, lambda a: a.rewrite, False),
        ({"enable_filter_generator": True}, lambda a: a.generate_filter, True),
        ({"enable_query_decomposition": True}, lambda a: a.decompose, True),
        ({"enable_reflection": True}, lambda a: a.reflect, True),
        ({"fetch_full_page_context": True, "fetch_neighboring_pages": 2}, lambda a: (a.full_pages, a.neighbour_pages),
         (True, 2)),
        ({"confidence_threshold": 0.4}, lambda a: a.least_score, 0.4),
        ({"filter_expr": "f"}, lambda a: a.filter, "f"),
        ({"model": "x", "embedding_model": "y", "reranker_model": "z"}, lambda a: a.endpoints, {}),
        ({"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": TUG}]}, lambda a: a.system, "S"),
    ],
)
async def test_an_override_is_honoured(asking, body, read, value):
    assert read(asking(body)) == value


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"min_tokens": 5}, "min_tokens=5 is refused: HuggingFaceTB/SmolLM2-135M-Instruct knows it only with"),
        ({"max_thinking_tokens": 9}, "max_thinking_tokens=9 is refused: HuggingFaceTB/SmolLM2-135M-Instruct does not"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, PICTURE]}]}, "messages: a picture"),
        ({"llm_endpoint": "http://elsewhere:1/v1"}, "llm_endpoint=http://elsewhere:1/v1 is refused: this server uses"),
    ],
)
async def test_an_override_that_cannot_be_honoured_is_refused(asking, body, said):
    with pytest.raises(RequestError) as refused:
        asking(body)
    assert refused.value.message.startswith(said)


async def test_an_llm_of_somebody_elses_gets_thinking_and_min_tokens(asking):
    speech = asking({"min_tokens": 5, "min_thinking_tokens": 1, "max_thinking_tokens": 9}, llm_url="http://x:1").speech
    assert speech.extra == {"min_tokens": 5, "min_thinking_tokens": 1, "max_thinking_tokens": 9}


async def test_an_endpoint_that_the_operator_permits_may_be_named(words_store, tmp_path):
    async with small(words_store, tmp_path, {"other": Stub(says=SAYS.replace("The hourly", "An hourly"))}) as rag:
        refused = await rag.http.post("/generate", json=prompt(TUG, llm_endpoint="http://127.0.0.1:9"))
    assert refused.status_code == 400
    other = Stub(says=SAYS.replace("The hourly", "Hourly"))
    async with small(words_store, tmp_path, {"other": other}, permit=("other",)) as rag:
        named = rag.settings.request_endpoints
        answer = await rag.http.post("/generate", json=prompt(TUG, llm_endpoint=named, model="mine"))
    assert content(parse(answer.text)).startswith("Hourly price")
    assert other.bodies[-1]["model"] == "mine"


async def test_follow_ups_are_rewritten_in_search_and_answers_and_may_be_left(words_store, tmp_path):
    talk = [{"role": "user", "content": TUG}, {"role": "assistant", "content": SAYS},
            {"role": "user", "content": "How long does it need to reach Port Ansel?"}]
    alone = "How long does the tug from Kettlehaven need to reach Port Ansel?"
    async with small(words_store, tmp_path, {"llm": Stub(says="The tug Bold Heron needs four hours.")}) as rag:
        found = (await rag.http.post("/search", json={"messages": talk})).json()
        left = (await rag.http.post("/search", json={"messages": talk, "enable_query_rewriting": False})).json()
        answer = await rag.http.post("/generate", json={"messages": talk})
        asked = rag.stubs["llm"].bodies[-1]["messages"][-1]["content"]
    assert (found["search_query"], left["search_query"]) == (alone, talk[-1]["content"])
    assert f"Question: {alone}" in asked
    assert "four hours" in content(parse(answer.text))
    async with small(words_store, tmp_path, conversation_turns=0) as rag:
        assert (await rag.http.post("/search", json={"messages": talk})).json()["search_query"] == talk[-1]["content"]


async def test_a_capable_llm_rewrites_and_rules_stand_in_when_it_is_away(words_store, tmp_path):
    talk = [{"role": "user", "content": TUG}, {"role": "user", "content": "And its crew?"}]
    for stub, expected in ((Stub(says="1. Who are the crew of the tug?"), "Who are the crew of the tug?"),
                           (Stub("500"), "What is the hourly price of the its crew?")):
        async with small(words_store, tmp_path, {"llm": stub}, llm_model="big/one") as rag:
            found = (await rag.http.post("/search", json={"messages": talk})).json()
        assert (found["search_query"] == expected) or stub.fault


async def test_a_filter_is_read_out_of_the_question_and_dropped_when_nothing_fits(words_store, tmp_path):
    async with small(words_store, tmp_path, enable_filter_generator=True) as rag:
        page = (await rag.http.post("/search", json={"query": f"{TUG[:-1]}, on page 13 of plan.pdf?"})).json()
        none = (await rag.http.post("/search", json={"query": "What is on page 99?"})).json()
    assert page["filter"] == '(content_metadata["filename"] == "plan.pdf" and content_metadata["page_number"] == 13)'
    assert [item["metadata"]["page_number"] for item in page["results"]] == [13]
    assert (none["filter"], none["total_results"] > 0) == ("", True)
    assert none["notes"][0].startswith("the filter read out of the question matched nothing and was dropped")


async def test_an_llms_filter_must_be_one(words_store, tmp_path):
    for says, kept in (('content_metadata["page_number"] == 4', True), ("DROP TABLE", False), ("NONE", False)):
        async with small(words_store, tmp_path, {"llm": Stub(says=says)}, llm_model="big/one") as rag:
            found = (await rag.http.post("/search", json={"query": "alarm?", "enable_filter_generator": True})).json()
        assert (found["filter"] == f"({says})") is kept


async def test_the_parts_of_a_question_are_searched_for_too(words_store, tmp_path):
    question = "What does the tug cost and who collects the waste oil?"
    async with small(words_store, tmp_path) as rag:
        await rag.http.post("/generate", json=prompt(question, enable_query_decomposition=True))
        assert rag.stubs["embedding"].bodies[0]["input"][:3] == [
            question, "What does the tug cost?", "who collects the waste oil?"]
    parts = Stub(says="- What is waste oil?\nNONE")
    async with small(words_store, tmp_path, {"llm": parts}, llm_model="big/one") as rag:
        await rag.http.post("/generate", json=prompt(TUG, enable_query_decomposition=True))
        assert rag.stubs["embedding"].bodies[0]["input"][:2] == [TUG, "What is waste oil?"]


async def test_whole_pages_and_their_neighbours_are_read(words_store, tmp_path):
    async with small(words_store, tmp_path, {"llm": Stub()}) as rag:
        await rag.http.post("/generate", json=prompt(TUG))
        narrow = rag.stubs["llm"].bodies[-1]["messages"][-1]["content"]
        more = {"fetch_full_page_context": True, "fetch_neighboring_pages": 9}
        answer = await rag.http.post("/generate", json=prompt(TUG, **more))
        wide = rag.stubs["llm"].bodies[-1]["messages"][-1]["content"]
    assert "general alarm" not in narrow
    assert "channel 16" in wide
    assert "general alarm" in wide
    assert content(parse(answer.text)) == f"{SAYS} [1]"
    assert "context" in parse(answer.text)[-1]["timings_ms"]


async def test_weights_may_fuse_and_words_may_be_left_out(words_store, tmp_path):
    for settings in ({"search_fusion": "weighted", "dense_weight": 0.0, "sparse_weight": 1.0},
                     {"search_fusion": "weighted", "dense_weight": 1.0, "sparse_weight": 0.0},
                     {"search_type": "dense"}):
        async with small(words_store, tmp_path, **settings) as rag:
            found = (await rag.http.post("/search", json={"query": TUG, "enable_reranker": False})).json()["results"]
        scores = [item["metadata"]["retrieval_score"] for item in found]
        assert found[0]["metadata"]["page_number"] == 13
        assert scores == sorted(scores, reverse=True)
        assert 0 < scores[0] <= 1


async def test_reflection_judges_and_writes_again(words_store, tmp_path):
    bad = Stub(says="The tug is free.")
    async with small(words_store, tmp_path, {"llm": bad}, enable_reflection=True, reflection_loops=2) as rag:
        answer = await rag.http.post("/generate", json=prompt(TUG))
        nothing = await rag.http.post("/generate", json=prompt("What is the boiling point of ethanol?"))
    assert bad.calls == 2
    chunks = parse(answer.text)
    assert (len(chunks), "free" in content(chunks), "£1,150" in content(chunks)) == (2, False, True)
    assert content(parse(nothing.text)) == DECLINED
    assert parse(nothing.text)[-1]["notes"] == ["relevance of the passages was judged 0 of 2"]


async def test_guardrails_are_asked_before_and_after_and_nothing_is_answered_without(words_store, tmp_path):
    guard, llm = Stub(), Stub()
    async with small(words_store, tmp_path, {"guardrails": guard, "llm": llm}) as rag:
        fine = parse((await rag.http.post("/generate", json=prompt(TUG, enable_guardrails=True))).text)
        before = parse((await rag.http.post("/generate", json=prompt(f"{TUG} forbidden", enable_guardrails=True))).text)
        llm.says = f"{SAYS} It is forbidden."
        free = parse((await rag.http.post("/generate", json=prompt("Hi", enable_guardrails=True,
                                                                   use_knowledge_base=False))).text)
        guard.fault = "500"
        broken = await rag.http.post("/generate", json=prompt(TUG, enable_guardrails=True))
    assert [message["role"] for message in guard.bodies[1]["messages"]] == ["user", "assistant"]
    assert content(fine) == f"{SAYS} [1]"
    assert content(before) == content(free) == REFUSED
    assert before[0]["citations"]["total_results"] == 0
    assert before[-1]["grounding"]["refused"]
    assert (broken.status_code, content(parse(broken.text))[:34]) == (503, "NemoGuardrails NIM unavailable at ")


async def test_a_model_that_sees_gets_pictures_and_passages(words_store, tmp_path):
    eyes = Stub(says="The picture shows the tug Bold Heron. It was painted by John Smith.")
    asked = {"messages": [{"role": "user", "content": [{"type": "text", "text": TUG}, PICTURE]}]}
    async with small(words_store, tmp_path, {"vlm": eyes}) as rag:
        answer = parse((await rag.http.post("/generate", json=asked)).text)
        text = parse((await rag.http.post("/generate", json=prompt(TUG, enable_vlm_inference=True))).text)
        off = await rag.http.post("/generate", json={**asked, "enable_vlm_inference": False})
    parts = eyes.bodies[-1]["messages"][-1]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url"]
    assert "Bold Heron" in parts[0]["text"]
    assert "It was painted by John Smith. [unsupported]" in content(answer)
    assert [s["supported"] for s in answer[-1]["grounding"]["sentences"]][-1] is False
    assert content(text) == f"{SAYS} [1]"
    assert off.status_code == 400


async def test_without_the_model_that_sees_the_language_model_answers(words_store, tmp_path):
    asked = {"messages": [{"role": "user", "content": [{"type": "text", "text": TUG}, PICTURE]}]}
    async with small(words_store, tmp_path, {"vlm": Stub("500")}) as rag:
        answer = parse((await rag.http.post("/generate", json=asked)).text)
    assert (content(answer), answer[-1]["degraded"]) == (f"{SAYS} [1]", ["vlm"])


async def test_unsupported_sentences_may_be_marked(words_store, tmp_path):
    says = f"{SAYS} It belongs to John Smith."
    async with small(words_store, tmp_path, {"llm": Stub(says=says)}, unsupported_sentences="mark") as rag:
        chunks = parse((await rag.http.post("/generate", json=prompt(TUG))).text)
    assert content(chunks) == f"{SAYS} [1] It belongs to John Smith. [unsupported]"
    right, wrong = chunks[-1]["grounding"]["sentences"]
    assert (right["supported"], wrong["supported"], wrong["citation"]) == (True, False, 0)
    assert right["passages"][0]["document_name"] == "plan.pdf"


async def test_the_stages_sum_to_the_whole_in_the_stream(words_store, tmp_path):
    async with small(words_store, tmp_path) as rag:
        async for event in rag.rag.answer(dataclasses.replace(rag.rag.asked(TUG), decompose=True, full_pages=True)):
            last = event
        series = (await rag.http.get("/v1/metrics")).text
    assert sum(last.stages.values()) == pytest.approx(last.total_s, rel=0.05)
    assert "ullage_rag_stage_seconds" in series


async def test_health_lists_every_service_that_plays_a_part(words_store, tmp_path):
    settings = {"llm_model": "big/one", "enable_reflection": True, "enable_reranker": False}
    async with small(words_store, tmp_path, {"guardrails": Stub(), "vlm": Stub()}, **settings) as rag:
        body = (await rag.http.get("/health", params={"check_dependencies": True})).json()
    status = {item["service"]: item["status"] for item in body["nim"]}
    assert status == {"LLM": "healthy", "Embeddings": "healthy", "Ranking": "skipped", "Query Rewriter": "healthy",
                      "Reflection LLM": "healthy", "NemoGuardrails": "healthy", "VLM": "healthy"}


async def test_metrics_have_the_contracts_names(words_store, tmp_path):
    async with small(words_store, tmp_path) as rag:
        await rag.http.post("/generate", json=prompt(TUG))
        series = (await rag.http.get("/metrics")).text
    lines = {line.split(" ")[0].split("{")[0] for line in series.splitlines() if not line.startswith("#")}
    assert {"api_requests_total", "input_tokens", "output_tokens", "total_tokens", "avg_words_per_chunk",
            "token_usage_distribution_count", "rag_ttft_ms_count", "llm_ttft_ms_count",
            "context_reranker_time_ms_count", "retrieval_time_ms_count", "llm_generation_time_ms_count"} <= lines


@pytest.mark.parametrize("pieces", [1, 3, 100])
def test_thoughts_are_not_spoken(pieces):
    text = "a<think>no </thin k> no</think>b <thin c<think>lost"
    aloud = Aloud()
    said = "".join(aloud.hear(text[at : at + pieces]) for at in range(0, len(text), pieces)) + aloud.end()
    assert said == "ab <thin c"


async def test_a_search_takes_its_history_from_before_the_question(tmp_path):
    settings = Settings(state_dir=tmp_path, cache_dir=tmp_path, vectors_uri=str(tmp_path / "none.db"))
    rag = Rag(settings, connect(settings))
    body = json.loads('{"messages": [{"role": "user", "content": "a b"}, {"role": "user", "content": "c d"}]}')
    asked = asked_to_find(rag, DocumentSearch.model_validate(body))
    await rag.connections.close()
    assert (asked.question, [turn.text for turn in asked.history]) == ("c d", ["a b"])


async def test_the_embedder_is_asked_once_for_all_that_is_made_of_a_question(words_store, tmp_path):
    async with small(words_store, tmp_path) as rag:
        await rag.http.post("/generate", json=prompt(TUG))
        asking, saying = rag.stubs["embedding"].bodies
        assert asking["input"] == [TUG, *without_each_term(TUG).values()]
        assert (asking["input_type"], saying["input_type"]) == ("query", "passage")
        await rag.http.post("/search", json={"query": TUG})
        assert rag.stubs["embedding"].bodies[2]["input"] == [TUG]


async def test_a_question_as_long_as_the_contract_lets_it_be_is_embedded_as_it_is(words_store, tmp_path):
    long = f"{TUG} " + " ".join(f"word{n}" for n in range(13_000))
    async with small(words_store, tmp_path) as rag:
        answer = await rag.http.post("/generate", json=prompt(long[:128_000]))
        assert answer.status_code == 200
        assert [len(body["input"]) for body in rag.stubs["embedding"].bodies if body["input_type"] == "query"] == [1]
