"""A RAG server and an ingestor for clients of MCP: real ones, on loopback, with a hashing embedder and no reranker."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from ingestors import embedding, lite_server
from ullage.http.run import claim_port
from ullage.ingest.server import create_app as ingest_app
from ullage.rag.server import create_app as rag_app
from ullage.settings import Settings

WAIT_S = 60


@dataclass(frozen=True)
class Servers:
    """Base URLs."""

    rag: str
    ingest: str


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app at a free port, in a thread, until the block ends. `health`, if the app has it, is ready."""
    listener = claim_port("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until = time.monotonic() + WAIT_S
        while not (server.started and getattr(app.state, "health", READY).ready):
            assert thread.is_alive(), "the server ended"
            assert time.monotonic() < until, app.state.health.reason
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class READY:
    ready = True


def silent_llm() -> FastAPI:
    """A language model without a word to say: the documents are quoted."""
    app = FastAPI()
    app.get("/v1/health/ready")(lambda: {})
    app.get("/v1/models")(lambda: {"data": [{"id": "silent"}]})
    app.post("/v1/chat/completions")(lambda: StreamingResponse(iter(["data: [DONE]\n\n"]),
                                                               media_type="text/event-stream"))
    return app


@contextmanager
def servers(folder: Path, cache: Path) -> Iterator[Servers]:
    with ExitStack() as up:
        vectors, _ = up.enter_context(lite_server(folder))
        settings = Settings.model_validate({
            "embedding_url": up.enter_context(embedding()),
            "llm_url": up.enter_context(served(silent_llm())),
            "vectors_uri": vectors,
            "state_dir": folder,
            "cache_dir": cache,
            "enable_reranker": False,
            "request_timeout_s": 30,
        })
        ingest = up.enter_context(served(ingest_app(settings)))
        yield Servers(up.enter_context(served(rag_app(settings))), ingest)
