"""Summaries: asked for with an upload, made by an LLM on a loopback port, and told as what they are."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from hashing import RunIngest
from ullage.clients.llm import LlmClient
from ullage.errors import DocumentRefused
from ullage.http.run import claim_port
from ullage.ingest.summarise import PIECE_CHARACTERS, chosen, page_numbers, pieces, summarise, supported
from ullage.store import Chunk

WORDS = "one two three four one six seven eight nine ten".split()
MANUAL = b"# Pumps\n\nThe bilge pump is serviced every six months, says summary one.\n"


class ScriptedLlm:
    """Answers with the number of the call and what it was asked; refuses prompts over `context` characters."""

    def __init__(self) -> None:
        self.context = 100_000
        self.down = False
        self.asked: list[str] = []
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self._chat)
        self.app.get("/v1/models")(self._models)
        self.url = ""

    async def _models(self) -> dict:
        return {"data": [{"id": "m"}]}

    async def _chat(self, request: Request) -> Response:
        asked = (await request.json())["messages"][-1]["content"]
        if self.down:
            return JSONResponse({"message": "away"}, 500)
        if len(asked) > self.context:
            return JSONResponse({"message": "the context holds less"}, 400)
        self.asked.append(asked)
        return StreamingResponse(self._events(f"Summary {WORDS[len(self.asked) - 1]}."), media_type="text/event-stream")

    async def _events(self, text: str) -> AsyncIterator[str]:
        yield "data: " + json.dumps({"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}) + "\n\n"
        yield "data: [DONE]\n\n"


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    service = ScriptedLlm()
    listener = claim_port("127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(service.app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield service
    server.should_exit = True
    thread.join()
    listener.close()


async def upload(client: httpx.AsyncClient, files: dict[str, bytes], **data: object) -> None:
    await client.post("/collection", json={"collection_name": "c"})
    parts = [("documents", (name, content)) for name, content in files.items()]
    said = {"blocking": True, "generate_summary": True, **data}
    answer = await client.post("/documents", files=parts, data={"data": json.dumps(said)})
    assert answer.status_code == 200, answer.text


async def asked_for(client: httpx.AsyncClient, name: str = "a.md", **more: object) -> httpx.Response:
    return await client.get("/v1/summary", params={"collection_name": "c", "file_name": name, **more})


async def test_a_summary_goes_its_way(ingest: RunIngest, llm: ScriptedLlm) -> None:
    async with ingest(llm_url=llm.url) as client:
        await upload(client, {"a.md": MANUAL})
        done = await asked_for(client, blocking=True)
        body = done.json()
        assert (done.status_code, body["status"], body["summary"]) == (200, "SUCCESS", "Summary one.")
        assert (body["message"], body["error"]) == ("Summary retrieved successfully.", None)
        assert body["completed_at"] >= body["started_at"]
        assert "The bilge pump is serviced" in llm.asked[0]
        missing = await asked_for(client, "b.md")
        assert (missing.status_code, missing.json()["status"]) == (404, "NOT_FOUND")
        assert (await asked_for(client, timeout=0)).status_code == 400
        await client.request("DELETE", "/documents", params={"collection_name": "c"}, json=["a.md"])
        assert (await asked_for(client)).status_code == 404


async def test_an_llm_that_is_away_is_told_and_waited_for(ingest: RunIngest, llm: ScriptedLlm) -> None:
    llm.down = True
    async with ingest(llm_url=llm.url, request_timeout_s=30) as client:
        await upload(client, {"a.md": MANUAL})
        async with asyncio.timeout(20):
            while "waiting: the LLM at" not in (await asked_for(client)).json()["message"]:
                await asyncio.sleep(0.02)
        waiting = await asked_for(client)
        assert (waiting.status_code, waiting.json()["status"]) == (202, "IN_PROGRESS")
        assert llm.url in waiting.json()["progress"]["message"]
        timed_out = await asked_for(client, blocking=True, timeout=0.1)
        assert (timed_out.status_code, "Timed out after 0.1 s" in timed_out.json()["message"]) == (408, True)
    llm.down = False
    async with ingest(llm_url=llm.url) as client:
        assert (await asked_for(client, blocking=True)).json()["status"] == "SUCCESS"


async def test_an_llm_that_stays_away_fails_the_summary_and_not_the_document(ingest: RunIngest) -> None:
    async with ingest(llm_url="http://127.0.0.1:9", request_timeout_s=0.6) as client:
        await upload(client, {"a.md": MANUAL})
        failed = await asked_for(client, blocking=True)
        assert (failed.status_code, failed.json()["status"]) == (500, "FAILED")
        assert "no LLM answers at http://127.0.0.1:9" in failed.json()["error"]
        listed = (await client.get("/documents", params={"collection_name": "c"})).json()
        assert listed["total_documents"] == 1


async def test_options_are_checked(ingest: RunIngest) -> None:
    async with ingest() as client:
        await client.post("/collection", json={"collection_name": "c"})
        for wrong in ({"page_filter": [[0, 2]]}, {"page_filter": [[3, 2]]}, {"page_filter": "some"},
                      {"summarization_strategy": "quick"}):
            said = {"generate_summary": True, "summary_options": wrong}
            answer = await client.post("/documents", files=[("documents", ("a.md", MANUAL))],
                                       data={"data": json.dumps(said)})
            assert answer.status_code == 422, wrong


TEXTS = [f"{letter * 1943} summary {' '.join(WORDS)}." for letter in "abcdefgh"]


async def nobody(_done: int, _total: int, _message: str) -> None:
    """Hears what is going on."""


@pytest.mark.parametrize(("strategy", "calls"), [("single", 1), (None, 4), ("hierarchical", 5)])
async def test_strategies(llm: ScriptedLlm, strategy: str | None, calls: int) -> None:
    async with LlmClient(llm.url) as client:
        made = await summarise(client, TEXTS, strategy, nobody)
    assert (len(llm.asked), made.text) == (calls, f"Summary {WORDS[calls - 1]}.")
    assert made.note == ("of the first 1 of 4 parts" if strategy == "single" else "")
    if strategy is None:
        assert "Summary three." in llm.asked[3]
        assert TEXTS[7] in llm.asked[3]
    if strategy == "hierarchical":
        assert "Summary one.\n\nSummary two." in llm.asked[4]


async def test_pieces_shrink_until_the_model_takes_them(llm: ScriptedLlm) -> None:
    llm.context = PIECE_CHARACTERS // 3
    heard: list[str] = []

    async def told(_done: int, _total: int, message: str) -> None:
        heard.append(message)

    async with LlmClient(llm.url) as client:
        made = await summarise(client, TEXTS[:2], None, told)
        assert made.text.startswith("Summary ")
        assert any("again in pieces of 1500 characters" in message for message in heard)
        llm.context = 100
        with pytest.raises(DocumentRefused, match="takes less than 500 characters"):
            await summarise(client, TEXTS[:2], None, nobody)
        with pytest.raises(DocumentRefused, match="no text that could be summarised"):
            await summarise(client, [], None, nobody)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("The pump is red. The pump is red. It is serviced in 2024.", "The pump is red. It is serviced in 2024."),
        ("The pump is red. It is serviced in 2025.", "The pump is red."),
        ("Pumps, serviced in 2024. A whale sang to the moon.", "Pumps, serviced in 2024."),
        ("A whale sang to the moon.", ""),
        ("", ""),
    ],
)
def test_what_the_text_does_not_say_is_dropped(said: str, kept: str) -> None:
    assert supported(said, "Since 2024 the red pump is serviced.") == kept


async def test_a_model_that_makes_things_up_is_replaced_by_the_document_itself(llm: ScriptedLlm) -> None:
    async with LlmClient(llm.url) as client:
        texts = ["Top > Pumps\nThe pump is red. It turns.", "Top > Pumps\nIt turns."]
        made = await summarise(client, texts, None, nobody)
    assert made.text == "The pump is red. It turns."
    assert made.note.startswith("the LLM said nothing that the document supports")


def test_pieces_hold_all_of_the_text() -> None:
    texts = ["a" * 30, "b" * 250, "c"]
    found = pieces(texts, 100)
    assert all(len(piece) <= 100 for piece in found)
    assert "".join(found).replace("\n", "") == "".join(texts)


@pytest.mark.parametrize(
    ("page_filter", "expected"),
    [
        (None, None),
        ("even", {2, 4}),
        ("odd", {1, 3, 5}),
        ([[2, 3]], {2, 3}),
        ([[-2, -1], [1, 1]], {1, 4, 5}),
        ([[4, 99]], {4, 5}),
        ([[3, -2]], {3, 4}),
    ],
)
def test_page_filters(page_filter: object, expected: set[int] | None) -> None:
    assert page_numbers(page_filter, 5) == expected


def test_a_shallow_summary_reads_text_alone() -> None:
    chunks = [Chunk("a", "h", n, kind, page=n + 1, type=kind) for n, kind in enumerate(["text", "table", "chart"])]
    assert chosen(chunks, {}, 3) == ["text", "table", "chart"]
    assert chosen(chunks, {"shallow_summary": True}, 3) == ["text"]
    assert chosen(chunks, {"page_filter": [[2, 3]]}, 3) == ["table", "chart"]
