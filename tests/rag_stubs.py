"""Services that answer at once from words alone, and misbehave on demand: over real sockets, without models."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import re
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from processes import free_port
from ullage.clients.embedding import EmbeddingClient
from ullage.clients.llm import LlmClient
from ullage.clients.ranking import RankingClient
from ullage.rag.connections import connect
from ullage.rag.passage import Candidate
from ullage.rag.pipeline import Rag
from ullage.rag.server import create_app
from ullage.settings import Settings
from ullage.store import Chunk, VectorStore
from ullage.store.fusion import FoundRow

COLLECTION = "handbook"

CHUNKS = (
    ("plan.pdf", 13, ("Plan", "Outside help"),
     "The tug Bold Heron, stationed at Kettlehaven, needs four hours to reach "
     "Port Ansel and is hired at £1,150 an hour. The coastguard listens on channel 16."),
    ("plan.pdf", 4, ("Plan", "Signals"),
     "The general alarm is seven short blasts. Abandon ship is given by the master."),
    ("manual.pdf", 7, ("Manual", "Shore chargers"), "Table 4.1: Chargers\n"
     "CH-3 — Site: Brannoch; Maximum power: 900 kW\nCH-5 — Site: Dunlin Yard; Maximum power: 120 kW"),
    ("rota.md", 1, ("Rota", "Leave"), "Annual leave is 34 days for seagoing crew and 28 for shore staff."),
    ("rota.md", 1, ("Rota", "Welfare"),
     "The welfare fund may lend up to £800 without interest, repaid over ten months."),
    ("waste.md", 1, ("Waste", "Oil"), "Waste oil is collected by Greywater Haulage every seven weeks."),
)


def found(text: str, *, rank: int = 0, score: float = 0.0) -> Candidate:
    """As a search gives it."""
    row = {"text": text, "document": "a.md", "content_hash": "h", "ordinal": rank, "page": 1, "path": "[]",
           "type": "text", "created_s": 0.0, "metadata": {}}
    return Candidate(FoundRow(f"{rank}", score, {}, row), rank, COLLECTION)


WIDTH = 256
PATIENT_S, SHORT_S = 20.0, 0.4
STOP = {"the", "is", "a", "of", "at", "what", "and", "for", "in", "from"}


def vector(text: str) -> np.ndarray:
    """A bag of words, hashed."""
    found = np.full(WIDTH, 1e-3, np.float32)
    for word in set(re.findall(r"\w+", text.lower())) - STOP:
        found[zlib.crc32(word.encode()) % WIDTH] += 1
    return found / np.linalg.norm(found)


@asynccontextmanager
async def on_loopback(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app on a real port of this machine."""
    port = free_port()
    config = uvicorn.Config(app, port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        while not server.started:
            await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running


@dataclasses.dataclass
class Stub:
    """One service. `fault` is '' or 500, rubbish, slow; it begins with call number `after`."""

    fault: str = ""
    after: int = 0
    calls: int = 0
    says: str = "The hourly price of the tug from Kettlehaven is £1,150."
    bodies: list = dataclasses.field(default_factory=list)
    over: asyncio.Event = dataclasses.field(default_factory=asyncio.Event)

    def app(self) -> FastAPI:
        app = FastAPI()
        app.post("/v1/embeddings")(self.embed)
        app.post("/v1/ranking")(self.rank)
        app.post("/v1/chat/completions")(self.chat)
        app.post("/v1/guardrail/checks")(self.check)
        app.get("/v1/models")(lambda: {"data": [{"id": "m"}]})
        app.get("/v1/health/ready")(lambda: {})
        return app

    async def _misbehave(self, request: Request) -> Response | None:
        self.calls += 1
        self.bodies.append(await request.json())
        if not self.fault or self.calls <= self.after:
            return None
        if self.fault == "slow":
            await self.over.wait()
        if self.fault == "500":
            return Response('{"message": "out of order"}', 500)
        return Response("<html>this is no API</html>", 200)

    async def embed(self, request: Request) -> object:
        wrong = await self._misbehave(request)
        texts = self.bodies[-1]["input"]
        data = [{"index": at, "embedding": vector(text).tolist()} for at, text in enumerate(texts)]
        return wrong or {"data": data}

    async def rank(self, request: Request) -> object:
        wrong = await self._misbehave(request)
        body = self.bodies[-1]
        asked = vector(body["query"]["text"])
        logits = [10 * float(asked @ vector(passage["text"])) for passage in body["passages"]]
        return wrong or {"rankings": [{"index": at, "logit": logit} for at, logit in enumerate(logits)]}

    async def check(self, request: Request) -> object:
        wrong = await self._misbehave(request)
        blocked = "forbidden" in json.dumps(self.bodies[-1]["messages"])
        return wrong or {"status": "blocked" if blocked else "success"}

    async def chat(self, request: Request) -> object:
        if self.fault.startswith("mid"):
            self.bodies.append(await request.json())
            return StreamingResponse(self._torn(), media_type="text/event-stream")
        return await self._misbehave(request) or StreamingResponse(self._whole(), media_type="text/event-stream")

    async def _whole(self) -> AsyncIterator[str]:
        for at in range(0, len(self.says), 7):
            yield event({"choices": [{"delta": {"content": self.says[at : at + 7]}}]})
        yield event({"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 9}})
        yield "data: [DONE]\n\n"

    async def _torn(self) -> AsyncIterator[str]:
        yield event({"choices": [{"delta": {"content": "The tug"}}]})
        if self.fault == "mid slow":
            await self.over.wait()
        elif self.fault == "mid rubbish":
            yield "data: <html>\n\n"
        elif self.fault == "mid 500":
            yield event({"error": {"message": "out of order"}})


def event(body: object) -> str:
    return f"data: {json.dumps(body)}\n\n"


def fill(store: VectorStore, collection: str = COLLECTION, chunks=CHUNKS, **more) -> None:
    store.create_collection(collection, embedder="m", dimension=WIDTH, schema=more.get("schema", ()))
    texts = [f"{' > '.join(path)}\n{text}" for _, _, path, text in chunks]
    metadata = more.get("metadata", [{}] * len(texts))
    rows = [Chunk(document=name, content_hash=f"{collection}-{name}", ordinal=n, text=text, page=page, path=path,
                  metadata={"filename": name, **metadata[n]})
            for n, ((name, page, path, _), text) in enumerate(zip(chunks, texts, strict=True))]
    store.upsert(collection, rows, np.stack([vector(text) for text in texts]))
    store.seal(collection)


@dataclasses.dataclass
class Small:
    """A RAG server over stubs; `http` talks to it."""

    http: httpx.AsyncClient
    stubs: dict[str, Stub]
    settings: Settings
    store: Borrowed
    app: FastAPI

    @property
    def rag(self) -> Rag:
        return self.app.state.rag


@asynccontextmanager
async def small(store: VectorStore, tmp_path, faults: dict[str, Stub] | None = None, dead=(), permit=(), **settings):
    """`faults` maps a service to its stub; a faulty one has a short deadline, the others are waited for."""
    stubs = {name: (faults or {}).get(name) or Stub() for name in ("embedding", "ranking", "llm")}
    stubs |= {name: stub for name, stub in (faults or {}).items() if name not in stubs}
    async with contextlib.AsyncExitStack() as open_until:
        urls = {name: await open_until.enter_async_context(on_loopback(stub.app())) for name, stub in stubs.items()}
        open_until.callback(lambda: [stub.over.set() for stub in stubs.values()])
        urls |= dict.fromkeys(dead, "http://127.0.0.1:9")
        short = {name for name, stub in stubs.items() if stub.fault}
        waits = {name: SHORT_S if name in short or name in dead else PATIENT_S for name in urls}
        named = {"llm_url": urls["llm"], "embedding_url": urls["embedding"], "ranking_url": urls["ranking"],
                 **({"guardrails_url": urls["guardrails"]} if "guardrails" in urls else {}),
                 **({"vlm_url": urls["vlm"]} if "vlm" in urls else {})}
        if permit:
            settings["request_endpoints"] = ",".join(urls[name] for name in permit)
        chosen = Settings(state_dir=tmp_path, cache_dir=tmp_path, collection=COLLECTION, vectors_uri="unused.db",
                          **{**named, **settings})
        model = chosen.llm_model if chosen.llm_url != urls["llm"] else "m"
        made = connect(chosen.model_copy(update={"vectors_uri": str(tmp_path / "none.db")}))
        clients = dataclasses.replace(
            made, vectors=(borrowed := Borrowed(store)),
            embedding=EmbeddingClient(urls["embedding"], model="m", timeout_s=waits["embedding"]),
            ranking=RankingClient(urls["ranking"], model="m", timeout_s=waits["ranking"]),
            llm=LlmClient(chosen.llm_url, model, PATIENT_S * 3, silence_s=waits["llm"]))
        for unused in (made.embedding, made.ranking, made.llm):
            await unused.close()
        made.vectors.close()
        app = create_app(chosen, clients=clients, watch_s=0.1)
        await open_until.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        http = await open_until.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://rag"))
        async with asyncio.timeout(60):
            while not app.state.health.ready:
                await asyncio.sleep(0.01)
        yield Small(http, stubs, chosen, borrowed, app)


class Borrowed:
    """A store that many tests share: closing it is not theirs."""

    def __init__(self, store: VectorStore) -> None:
        self.current = store

    def __getattr__(self, name: str) -> object:
        return getattr(self.current, name)

    def close(self) -> None:
        pass


def parse(text: str) -> list[dict]:
    """Events are `data: {json}` and a blank line; there is no [DONE]."""
    assert text.endswith("\n\n")
    events = text.removesuffix("\n\n").split("\n\n")
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    return [json.loads(event.removeprefix("data: ")) for event in events]


def content(chunks: list[dict]) -> str:
    return "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)


def prompt(question: str, **more) -> dict:
    return {"messages": [{"role": "user", "content": question}], **more}
