"""The RAG server as a replica: its contract tests through front, proxy and replica, and a stream that is not held back.
What stands behind it are stubs of this process."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import test_rag_clients
import uvicorn
from clusters import Simulated, front
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from rag_stubs import COLLECTION, Stub, event
from ullage.settings import load
from ullage.stack.place import place

test_openai_streams_and_counts = test_rag_clients.test_openai_streams_and_counts
test_openai_gets_one_object_and_lists_the_model = test_rag_clients.test_openai_gets_one_object_and_lists_the_model
test_openai_reads_errors = test_rag_clients.test_openai_reads_errors
test_openai_searches_a_vector_store = test_rag_clients.test_openai_searches_a_vector_store

PAUSE_S = 1.5
FILL = "import sys; from rag_stubs import fill; from ullage.store import VectorStore; fill(VectorStore(sys.argv[1]))"


class Slow(Stub):
    """Its LLM waits in the middle of an answer where the question says SLOWLY."""

    async def chat(self, request: Request) -> object:
        asked = json.dumps(await request.json())
        return StreamingResponse(self._halting(), media_type="text/event-stream") if "SLOWLY" in asked \
            else await super().chat(request)

    async def _halting(self) -> AsyncIterator[str]:
        yield event({"choices": [{"delta": {"content": "The hourly price of the tug from Kettlehaven is £1,150. "}}]})
        await asyncio.sleep(PAUSE_S)
        yield event({"choices": [{"delta": {"content": "The tug is hired at £1,150 an hour."}}]})
        yield event({"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 9}})
        yield "data: [DONE]\n\n"


@pytest.fixture(scope="module")
def stub() -> Iterator[str]:
    app: FastAPI = Slow().app()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def url(simulated: Simulated, stub: str) -> Iterator[str]:
    from ullage.stack.ray.deploy import run, take_away

    database = simulated.folder / "rag" / "vectors.db"
    # A local file is held by one process alone until it ends: from now on by the replica.
    subprocess.run([sys.executable, "-c", FILL, str(database)], check=True, timeout=60)
    settings = load({"memory": "4GiB", "state_dir": str(simulated.folder), "log_level": "WARNING",
                     "collection": COLLECTION, "vectors_uri": str(database), "llm_url": stub, "embedding_url": stub,
                     "ranking_url": stub, "llm_model": "m"}, environ={}).settings
    run([place(settings, ["rag"])["rag"]], settings, {}, 0.5)
    try:
        with front("rag", f"http://127.0.0.1:{simulated.port}", simulated.folder) as where:
            yield where
    finally:
        take_away(["rag"])


async def test_a_stream_comes_as_it_is_made(url):
    """The first words arrive while the model still waits to say the rest."""
    body = {"model": "ullage/rag", "stream": True, "use_knowledge_base": False,
            "messages": [{"role": "user", "content": "Say SLOWLY what the tug costs."}]}
    arrived: dict[str, float] = {}
    async with httpx.AsyncClient(timeout=60) as client, client.stream("POST", f"{url}/v1/chat/completions",
                                                                      json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["x-ullage-replica"]
        async for line in answer.aiter_lines():
            for words in ("hourly price", "[DONE]"):
                if words in line:
                    arrived.setdefault(words, time.monotonic())
    apart_s = arrived["[DONE]"] - arrived["hourly price"]
    print(f"\nfirst words {apart_s:.2f} s before the end; the model paused {PAUSE_S} s")
    assert apart_s > PAUSE_S / 2
