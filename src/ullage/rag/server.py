"""The RAG server over HTTP, as the blueprint has it; each route answers at /x and at /v1/x."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import Receive, Scope, Send

from ullage.errors import DependencyDown, NotReady, RequestError, UllageError, outcome
from ullage.http import Health, ServiceInfo, build_app
from ullage.plan import ServicePlan
from ullage.rag.configuration import configuration
from ullage.rag.events import Answer, Asked, Event, Ordered, Retrieved, Timings, Token
from ullage.rag.health import report
from ullage.rag.metrics import RagMetrics
from ullage.rag.passage import Passage
from ullage.rag.pipeline import Clients, Rag, connect
from ullage.rag.request import asked_to_answer, asked_to_find
from ullage.rag.schema import DocumentSearch, Prompt, texts_of
from ullage.rag.wire import Chunks, citations
from ullage.settings import Settings

log = structlog.get_logger("ullage.rag")

DEGRADED = "X-Ullage-Degraded"
RETRY_S = 0.5
PROVE_S = 5.0


class RagLifecycle:
    """Ready when the vector database answers and the embedder has embedded a text. Ranking and LLM may come later."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    async def start(self, health: Health) -> None:
        while True:
            try:
                async with asyncio.timeout(PROVE_S):
                    await asyncio.to_thread(self._clients.vectors.ping)
                    if await self._clients.embedding.ready():
                        await self._clients.embedding.embed(["Is it ready?"], "query")
                        return
                health.loading(f"waiting for the embedder at {self._clients.embedding.base_url}")
            except TimeoutError:
                health.loading("waiting for the vector database and the embedder")
            except UllageError as error:
                health.loading(error.message)
            await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        await self._clients.close()


class EventStream(StreamingResponse):
    """Server-sent events; the source is closed however the response ends, so that generation stops."""

    def __init__(self, events: AsyncGenerator[str, None], headers: dict[str, str]) -> None:
        super().__init__(events, media_type="text/event-stream",
                         headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no", **headers})
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.aclose()


def create_app(
    settings: Settings, planned: ServicePlan | None = None, *, clients: Clients | None = None
) -> FastAPI:
    """Generate, search, configuration and health, beside the routes every service has."""
    rag = Rag(settings, clients or connect(settings))
    info = ServiceInfo(
        service="rag",
        profile=planned.profile_id if planned else "",
        ledger=planned.ledger.as_dict() if planned else {},
    )
    app = build_app(info, RagLifecycle(rag.clients), max_body=int(settings.max_body))
    metrics = RagMetrics(app.state.registry)

    def ready() -> None:
        if not app.state.health.ready:
            raise NotReady(f"rag is not ready: {app.state.health.reason}", retry_after_s=2)

    async def generate(body: Prompt) -> Response:
        try:
            ready()
            asked = asked_to_answer(rag, body)
            return await _stream(rag, asked, body, metrics)
        except UllageError as error:
            return _error_stream(_in_contract(error, rag.settings), _status(error))

    async def search(body: DocumentSearch) -> Response:
        try:
            ready()
            ordered = await _search(rag, asked_to_find(rag, body))
        except UllageError as error:
            return JSONResponse({"message": _in_contract(error, rag.settings)}, _status(error))
        headers = {DEGRADED: ",".join(ordered.degraded)} if ordered.degraded else {}
        return JSONResponse({**citations(ordered.passages), "degraded": list(ordered.degraded)}, headers=headers)

    async def configured() -> dict[str, Any]:
        return configuration(settings)

    async def health(check_dependencies: bool = False) -> dict[str, Any]:
        return await report(rag.clients, settings, check=check_dependencies)

    async def series() -> Response:
        return Response(generate_latest(app.state.registry), media_type=CONTENT_TYPE_LATEST)

    for prefix in ("", "/v1"):
        app.post(f"{prefix}/generate", tags=["rag"])(generate)
        app.post(f"{prefix}/chat/completions", tags=["rag"])(generate)
        app.post(f"{prefix}/search", tags=["rag"])(search)
        app.get(f"{prefix}/configuration", tags=["rag"])(configured)
        app.get(f"{prefix}/health", tags=["health"])(health)
    app.get("/metrics", tags=["metrics"])(series)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        faults = "; ".join(f"{_where(fault['loc'])}: {fault['msg']}" for fault in error.errors())
        return _error_stream(f"Validation error: {faults}", 422, pieces=True)

    return app


async def _search(rag: Rag, asked: Asked) -> Ordered:
    ordered = Ordered(())
    async for event in rag.search(asked):
        if isinstance(event, Ordered):
            ordered = event
    return ordered


async def _stream(rag: Rag, asked: Asked, body: Prompt, metrics: RagMetrics) -> Response:
    """The first text is awaited before the status is sent, so that an error still has its own."""
    events = rag.answer(asked) if body.use_knowledge_base else rag.chat(asked, _chat(body))
    chunks = Chunks(body.model or rag.settings.llm_model)
    passages: tuple[Passage, ...] = ()
    degraded: tuple[str, ...] = ()
    first: Event | None = None
    try:
        async for event in events:
            if isinstance(event, Ordered):
                passages, degraded = event.passages, event.degraded
            if not isinstance(event, Retrieved | Ordered):
                first = event
                break
    except BaseException:
        await events.aclose()  # type: ignore[attr-defined]
        raise
    shown = () if body.enable_citations is False else passages
    headers = {DEGRADED: ",".join(degraded)} if degraded else {}
    return EventStream(_chunks(chunks, first, events, shown, metrics), headers)


async def _chunks(
    chunks: Chunks, first: Event | None, rest: AsyncIterator[Event], passages: tuple[Passage, ...], metrics: RagMetrics
) -> AsyncGenerator[str, None]:
    answer, timings, cited = Answer(), Timings({}, 0.0), False
    async with aclosing(_chain(first, rest)) as events:
        try:
            async for event in events:
                match event:
                    case Token():
                        yield chunks.chunk(event.text, citations=citations(() if cited else passages))
                        cited = True
                    case Answer():
                        answer = event
                    case Timings():
                        timings = event
        except UllageError as error:
            log.warning("answer broke off", reason=error.message)
            for chunk in chunks.error(error.message):
                yield chunk
            return
    metrics.observe(answer, timings)
    yield chunks.last(answer, timings)


async def _chain(first: Event | None, rest: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    async with aclosing(rest):  # type: ignore[type-var]
        if first is not None:
            yield first
        async for event in rest:
            yield event


def _chat(body: Prompt) -> list[dict[str, str]]:
    return [{"role": message.role or "user", "content": texts_of(message.content)} for message in body.messages]


def _where(place: Iterable[object]) -> str:
    return ".".join(str(part) for part in place if part != "body") or "body"


def _status(error: UllageError) -> int:
    """The contract knows 400 where we know 404 and 422, and 503 for whatever is away or late."""
    if isinstance(error, RequestError):
        return 400
    status = outcome(error).http_status
    return 503 if status == 504 else status


def _in_contract(error: UllageError, settings: Settings) -> str:
    """The blueprint's words for what it has words for; ours otherwise."""
    if isinstance(error, DependencyDown):
        for start, name, url in (
            ("embedding at", "Embedding", settings.url("embedding")),
            ("no LLM answers at", "LLM", settings.url("llm")),
        ):
            if error.message.startswith(start):
                return f"{name} NIM unavailable at {url}. Please verify the service is running and accessible."
    return error.message


def _error_stream(message: str, status: int, *, pieces: bool = False) -> Response:
    text = "".join(Chunks("").error(message, pieces=pieces))
    return Response(text, status, media_type="text/event-stream")
