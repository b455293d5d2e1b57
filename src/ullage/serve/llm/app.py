"""The LLM service over HTTP, in OpenAI's shape."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from ullage.devices import detect
from ullage.engines.llama_cpp import LlamaCppEngine
from ullage.errors import Cancelled, EngineFailed, NotReady, UnknownModel
from ullage.http import Health, ServiceInfo, build_app
from ullage.http.event_stream import EventStream
from ullage.http.metrics import gauge
from ullage.models.card import Card
from ullage.models.files import locate
from ullage.plan import Profile, ServicePlan
from ullage.plan.llama import MICRO_BATCH_TOKENS
from ullage.serve.llm.answers import Kind, events, whole
from ullage.serve.llm.generations import Chunk, Generations, Run
from ullage.serve.llm.metrics import LlmMetrics
from ullage.serve.llm.schema import ChatRequest, CompletionRequest
from ullage.settings import Settings

T = TypeVar("T")


@dataclass(slots=True)
class Loaded:
    engine: LlamaCppEngine
    generations: Generations


class LlmLifecycle:
    """Loads in the background and generates once; then it is ready."""

    def __init__(self, settings: Settings, planned: ServicePlan, card: Card, profile: Profile) -> None:
        self._settings = settings
        self._planned = planned
        self._card = card
        self._profile = profile
        self.metrics: LlmMetrics | None = None
        self.loaded: Loaded | None = None

    async def start(self, health: Health) -> None:
        health.loading(f"loading {self._planned.profile_id}")
        files = await asyncio.to_thread(locate, self._card, self._settings.cache_dir)
        context = self._profile.max_sequence
        parallel = max(1, self._profile.max_tokens // context)
        engine = LlamaCppEngine(
            files["weights"], context_tokens=context, threads=self._settings.threads or detect().cores,
            parallel=parallel, batch_tokens=MICRO_BATCH_TOKENS,
        )
        generations = Generations(
            engine, parallel=parallel, waiting=max(1, self._settings.queue_tokens // context),
            on_end=self.metrics.observe if self.metrics else lambda _: None,
        )
        await generations.start()
        self.loaded = Loaded(engine, generations)

    async def stop(self) -> None:
        if self.loaded is not None:
            await self.loaded.generations.close()


def create_app(settings: Settings, planned: ServicePlan) -> FastAPI:
    """`POST /v1/chat/completions`, `POST /v1/completions` and the routes every service has."""
    card, profile = planned.card, planned.profile
    if card is None or profile is None:
        raise UnknownModel("the LLM service needs a model: set llm_model")
    lifecycle = LlmLifecycle(settings, planned, card, profile)
    info = ServiceInfo(
        service="llm", models=card.names, revision=card.revision, licence=card.licence, profile=planned.profile_id,
        ledger=planned.ledger.as_dict(), model_fields={"max_model_len": profile.max_sequence},
    )
    app = build_app(info, lifecycle, max_body=int(settings.max_body))
    lifecycle.metrics = LlmMetrics(app.state.registry)
    _queue_gauges(app, lifecycle)

    def loaded() -> Loaded:
        if lifecycle.loaded is None or not app.state.health.ready:
            raise NotReady(f"the language model is not ready: {app.state.health.reason}", retry_after_s=2)
        return lifecycle.loaded

    @app.post("/v1/chat/completions", tags=["llm"])
    async def chat(body: ChatRequest, request: Request) -> Response:
        name = _served(body.model, card)
        return await _answer(request, body, "chat", loaded(), loaded().engine.chat, name, card, settings)

    @app.post("/v1/completions", tags=["llm"])
    async def completions(body: CompletionRequest, request: Request) -> Response:
        name = _served(body.model, card)
        return await _answer(request, body, "completion", loaded(), loaded().engine.complete, name, card, settings)

    return app


async def _answer(
    request: Request, body: ChatRequest | CompletionRequest, kind: Kind, loaded: Loaded, run: Run, model: str,
    card: Card, settings: Settings,
) -> Response:
    """The first chunk is awaited before the status is sent, so that a refusal still has its own."""
    chunks = loaded.generations.stream(run, body.engine_request(), timeout_s=settings.request_timeout_s)
    fingerprint = f"ullage-{card.revision}"
    async with contextlib.AsyncExitStack() as leaving:
        leaving.push_async_callback(chunks.aclose)
        if not body.stream:
            answer = whole(chunks, kind, model=model, fingerprint=fingerprint)
            return JSONResponse(await _while_connected(request, answer))
        first = await _while_connected(request, _first(chunks))
        leaving.pop_all()
    return EventStream(events(first, chunks, model=model, fingerprint=fingerprint, wants_usage=body.wants_usage))


async def _first(chunks: AsyncGenerator[Chunk, None]) -> Chunk:
    async for chunk in chunks:
        return dict(chunk)
    raise EngineFailed("the engine ended without a word")


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; when the client goes away first, cancel it. Raises Cancelled then."""
    working = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Cancelled("the client went away")
        return working.result()
    finally:
        gone.cancel()
        working.cancel()
        await asyncio.gather(gone, working, return_exceptions=True)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _served(name: str | None, card: Card) -> str:
    if name is None:
        return card.name
    if name not in card.names:
        raise UnknownModel(f"model {name!r} is not served here: {', '.join(card.names)} is")
    return name


def _queue_gauges(app: FastAPI, lifecycle: LlmLifecycle) -> None:
    registry = app.state.registry
    gauge(registry, "ullage_llm_running", "Generations under way",
          lambda: lifecycle.loaded.generations.running if lifecycle.loaded else 0)
    gauge(registry, "ullage_llm_queue_depth", "Generations waiting for a slot",
          lambda: lifecycle.loaded.generations.queued if lifecycle.loaded else 0)
