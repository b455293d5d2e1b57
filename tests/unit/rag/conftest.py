"""A small stack: real store, real embedder and ranker, and a model that says what a test makes it say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from dummies import in_thread
from postgres_server import postgres_server as postgres_server
from postgres_server import postgres_url as postgres_url
from processes import free_port
from rag_stubs import CHUNKS, COLLECTION, fill, on_loopback
from ullage.clients.embedding import EmbeddingClient
from ullage.clients.llm import LlmClient
from ullage.clients.ranking import RankingClient
from ullage.devices import detect
from ullage.models.card import find_card
from ullage.plan import plan_service
from ullage.rag.connections import Clients
from ullage.serve.embedding.app import create_app as embedding_app
from ullage.serve.ranking.app import create_app as ranking_app
from ullage.settings import Settings
from ullage.store import Chunk, VectorStore

EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
RANKER = "ullage/minilm-fusion-ranker"


@dataclass
class Talker:
    """A language model's server: streams `says`, piece by piece; counts the chats; can fail instead."""

    says: str = ""
    status: int = 200
    break_off: bool = False
    prompts: list[list[dict]] = field(default_factory=list)
    left_early: int = 0

    def app(self) -> FastAPI:
        app = FastAPI()
        app.post("/v1/chat/completions")(self.chat)
        app.get("/v1/health/ready")(lambda: {})
        return app

    async def chat(self, request: Request) -> StreamingResponse:
        self.prompts.append((await request.json())["messages"])
        return StreamingResponse(self._events(), self.status, media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[str]:
        finished = False
        try:
            for at in range(0, len(self.says), 3):
                yield _event({"choices": [{"delta": {"content": self.says[at : at + 3]}}]})
                await asyncio.sleep(0)
            if self.break_off:
                return
            usage = {"prompt_tokens": 90, "completion_tokens": len(self.says) // 3}
            yield _event({"choices": [], "usage": usage})
            yield "data: [DONE]\n\n"
            finished = True
        finally:
            self.left_early += not finished


def _event(body: dict) -> str:
    return f"data: {json.dumps(body)}\n\n"


@pytest.fixture
def loopback():
    return on_loopback


@pytest.fixture
def dead_url() -> str:
    return f"http://127.0.0.1:{free_port()}"


@dataclass
class Stack:
    settings: Settings
    clients: Clients
    talker: Talker


@dataclass(frozen=True)
class Models:
    """Base URLs of an embedding and a ranking service."""

    embedding: str
    ranking: str


@pytest.fixture(scope="session")
def models(model_cache, tmp_path_factory) -> Iterator[Models]:
    """Both with their real engines, in a thread of their own: they take longer to start than most tests to run."""
    settings = Settings(cache_dir=model_cache, state_dir=tmp_path_factory.mktemp("models"), threads=1)
    with in_thread(_app(embedding_app, "embedding", settings)) as embedding:  # noqa: SIM117  one after the other
        with in_thread(_app(ranking_app, "ranking", settings)) as ranking:
            yield Models(embedding, ranking)


def _app(create: Any, service: Any, settings: Settings) -> FastAPI:
    card = find_card(settings.model(service), service)
    return create(settings, plan_service(service, card, settings, detect())[service])


@pytest.fixture
async def stack(models, tmp_path, model_cache) -> AsyncIterator[Stack]:
    """Everything up, six chunks stored."""
    talker = Talker()
    settings = Settings(
        cache_dir=model_cache, state_dir=tmp_path, threads=1, collection=COLLECTION, ranking_timeout_s=20,
        vectors_uri=str(tmp_path / "vectors.db"),
    )
    async with on_loopback(talker.app()) as llm_url:
        clients = Clients(
            vectors=VectorStore(settings.vectors_uri),
            embedding=EmbeddingClient(models.embedding, model=EMBEDDER),
            ranking=RankingClient(models.ranking, timeout_s=20),
            llm=LlmClient(llm_url, "m", 20),
        )
        texts = [f"{' > '.join(path)}\n{text}" for _, _, path, text in CHUNKS]
        vectors = await clients.embedding.embed(texts, "passage")
        clients.vectors.create_collection(COLLECTION, embedder=EMBEDDER, dimension=vectors.shape[1])
        chunks = [
            Chunk(document=name, content_hash="h", ordinal=n, text=text, page=page, path=path)
            for n, ((name, page, path, _), text) in enumerate(zip(CHUNKS, texts, strict=True))
        ]
        clients.vectors.upsert(COLLECTION, chunks, vectors)
        made = Stack(settings.model_copy(update={"llm_url": llm_url}), clients, talker)
        yield made
        await clients.close()
        await made.clients.close()  # whom a test has put in another's place


@pytest.fixture(scope="module")
def words_store(tmp_path_factory) -> Iterator[VectorStore]:
    """The six chunks with vectors of the stubs' embedder."""
    store = VectorStore(str(tmp_path_factory.mktemp("words") / "vectors.db"))
    fill(store)
    yield store
    store.close()
