"""The fault table: each service dead, slow, answering rubbish or 500, before and during a stream.

What the client sees: an answer with what is left, and who was missing. A slow service costs its deadline, no more.
"""

import asyncio
import contextlib
import socket

import pytest

from rag_stubs import Stub, content, parse, prompt, small
from ullage.rag.speak import LLM_AWAY
from ullage.store import VectorStore

TUG = "What is the hourly price of the tug from Kettlehaven?"
SAYS = "The hourly price of the tug from Kettlehaven is £1,150."
FAULTS = ("dead", "slow", "rubbish", "500")
LONGEST_S = 30.0
"""No client waits longer, whatever is slow: the deadlines in these tests are 0.4 s, the rest is a loaded machine."""


async def ask(http, **more):
    async with asyncio.timeout(LONGEST_S):
        answer = await http.post("/generate", json=prompt(TUG, **more))
    return answer, parse(answer.text)


def stack(store, tmp_path, service, fault, **settings):
    if fault == "dead":
        return small(store, tmp_path, dead=(service,), **settings)
    return small(store, tmp_path, {service: Stub(fault)}, **settings)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("service", ["embedding", "ranking", "llm"])
async def test_before_the_stream_the_rest_answers_and_names_who_is_missing(words_store, tmp_path, service, fault):
    async with stack(words_store, tmp_path, service, fault) as rag:
        answer, chunks = await ask(rag.http)
        again, _ = await ask(rag.http)
        series = (await rag.http.get("/metrics")).text
    assert answer.status_code == again.status_code == 200
    assert answer.headers["x-ullage-degraded"] == again.headers["x-ullage-degraded"] == service
    assert chunks[-1]["degraded"] == [service]
    assert chunks[0]["citations"]["results"][0]["document_name"] == "plan.pdf"
    assert "£1,150" in content(chunks)
    assert content(chunks).startswith(LLM_AWAY) == (service == "llm")
    assert f'ullage_rag_degraded_total{{service="{service}"}} 2.0' in series


NAMES = {"embedding": "Embedding", "ranking": "Reranker", "llm": "LLM"}


@pytest.mark.parametrize(
    ("service", "fault"),
    [(service, fault) for service in NAMES for fault in FAULTS if (service, fault) != ("embedding", "dead")],
)
async def test_a_setting_restores_the_blueprints_503(words_store, tmp_path, service, fault):
    async with stack(words_store, tmp_path, service, fault, degrade=False) as rag:
        answer, chunks = await ask(rag.http)
    assert answer.status_code == 503
    assert content(chunks).startswith(f"{NAMES[service]} NIM unavailable at ")
    assert content(chunks).endswith(". Please verify the service is running and accessible.")


@pytest.mark.parametrize("fault", ["mid slow", "mid rubbish", "mid 500", "mid dead"])
async def test_a_model_that_fails_while_it_speaks_is_replaced_by_the_documents(words_store, tmp_path, fault):
    async with small(words_store, tmp_path, {"llm": Stub(fault)}) as rag:
        answer, chunks = await ask(rag.http)
    assert answer.status_code == 200
    assert chunks[-1]["degraded"] == ["llm"]
    assert content(chunks).startswith(f"{LLM_AWAY}According to plan.pdf, page 13")


@pytest.mark.parametrize("fault", ["mid slow", "mid 500"])
async def test_without_degrading_such_an_answer_is_a_503(words_store, tmp_path, fault):
    async with small(words_store, tmp_path, {"llm": Stub(fault)}, degrade=False) as rag:
        answer, chunks = await ask(rag.http)
    assert (answer.status_code, content(chunks)[:22]) == (503, "LLM NIM unavailable at")


@pytest.mark.parametrize("fault", FAULTS[1:])
async def test_a_reranker_that_fails_during_the_stream_costs_the_links_alone(words_store, tmp_path, fault):
    async with small(words_store, tmp_path, {"ranking": Stub(fault, after=1)}) as rag:
        answer, chunks = await ask(rag.http)
    assert "x-ullage-degraded" not in answer.headers
    assert content(chunks) == f"{SAYS} [1]"
    assert chunks[-1]["degraded"] == ["ranking"]
    [sentence] = chunks[-1]["grounding"]["sentences"]
    assert (sentence["supported"], sentence["passages"]) == (True, [])


@pytest.mark.parametrize("fault", FAULTS[1:])
async def test_an_embedder_that_fails_after_the_search_leaves_words_to_weigh(words_store, tmp_path, fault):
    async with small(words_store, tmp_path, {"embedding": Stub(fault, after=1)}) as rag:
        answer, chunks = await ask(rag.http)
    assert answer.status_code == 200
    assert "£1,150" in content(chunks)


@contextlib.asynccontextmanager
async def database(fault):
    """The address of one that talks rubbish, takes calls and says nothing, or is not there."""
    if fault != "rubbish":
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            if fault == "slow":
                nobody.listen(64)
            yield f"http://127.0.0.1:{nobody.getsockname()[1]}"
        return
    talks = []

    async def talk(reader, writer):
        talks.append(asyncio.current_task())
        with contextlib.suppress(ConnectionError):
            await reader.read(100)
            writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await asyncio.gather(*talks)


@pytest.mark.parametrize("fault", ["rubbish", "slow", "dead"])
async def test_without_the_database_nothing_can_be_answered_and_ready_says_so(words_store, tmp_path, fault):
    async with database(fault) as uri, small(words_store, tmp_path) as rag:
        good = rag.store.current
        rag.store.current = await asyncio.to_thread(VectorStore, uri, timeout_s=0.4)
        async with asyncio.timeout(2 * LONGEST_S):
            answer, chunks = await ask(rag.http)
            found = await rag.http.post("/search", json={"query": TUG})
            while (await rag.http.get("/v1/health/ready")).status_code != 503:
                await asyncio.sleep(0.05)
            await asyncio.to_thread(rag.store.current.close)
            rag.store.current = good
            while (await rag.http.get("/v1/health/ready")).status_code != 200:
                await asyncio.sleep(0.05)
            back, _ = await ask(rag.http)
    assert (answer.status_code, found.status_code, back.status_code) == (503, 503, 200)
    assert len(content(chunks).splitlines()) == 1
    assert found.json()["message"].startswith("Failed to search documents. Service unavailable.")


async def test_a_service_that_failed_is_not_waited_for_again_at_once(words_store, tmp_path):
    async with small(words_store, tmp_path, {"ranking": Stub("slow")}) as rag:
        await ask(rag.http)
        asked = rag.stubs["ranking"].calls
        await ask(rag.http)
        assert rag.stubs["ranking"].calls == asked


async def test_a_service_that_is_back_is_asked_again(words_store, tmp_path):
    async with small(words_store, tmp_path, {"ranking": Stub("500")}) as rag:
        rag.rag.rests._rest_s = 0.0
        first, _ = await ask(rag.http)
        rag.stubs["ranking"].fault = ""
        second, _ = await ask(rag.http)
    assert first.headers["x-ullage-degraded"] == "ranking"
    assert "x-ullage-degraded" not in second.headers


async def test_with_nobody_but_the_database_there_are_still_passages(words_store, tmp_path):
    async with small(words_store, tmp_path, dead=("embedding", "ranking", "llm")) as rag:
        answer, chunks = await ask(rag.http)
        found = (await rag.http.post("/search", json={"query": TUG})).json()
    assert set(answer.headers["x-ullage-degraded"].split(",")) == {"embedding", "ranking", "llm"}
    assert content(chunks).startswith(f"{LLM_AWAY}According to plan.pdf, page 13")
    assert (found["degraded"], found["results"][0]["document_name"]) == (["embedding", "ranking"], "plan.pdf")


async def test_an_unexpected_error_is_a_500_in_the_contracts_words(words_store, tmp_path):
    class Broken:
        def __getattr__(self, name):
            raise ZeroDivisionError

    async with small(words_store, tmp_path) as rag:
        good, rag.store.current = rag.store.current, Broken()
        answer, chunks = await ask(rag.http)
        found = await rag.http.post("/search", json={"query": TUG})
        rag.store.current = good
    said = "Sorry, there was an error processing your request. Please check the server logs for more details."
    assert (answer.status_code, content(chunks)) == (500, said)
    assert (found.status_code, found.json()["message"]) == (500, said)
