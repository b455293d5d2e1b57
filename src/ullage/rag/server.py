"""The RAG server over HTTP, as the blueprint has it; each route answers at /x and at /v1/x."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError

from ullage.errors import NotReady, UllageError
from ullage.http import ServiceInfo, build_app
from ullage.http.event_stream import EventStream
from ullage.plan import ServicePlan
from ullage.rag.configuration import configuration
from ullage.rag.connections import Clients, connect
from ullage.rag.events import Event, Ordered
from ullage.rag.health import report
from ullage.rag.lifecycle import WATCH_S, RagLifecycle
from ullage.rag.metrics import RagMetrics
from ullage.rag.pipeline import Rag
from ullage.rag.plain import PlainChat, PlainChunks, plain_error, plain_fault, wants_plain
from ullage.rag.refusals import as_message, as_stream, error_stream, faults_text
from ullage.rag.request import asked_to_answer, asked_to_find, chat_of
from ullage.rag.schema import DocumentSearch, Prompt
from ullage.rag.stores import StoreSearch, asked_of_store, page_of
from ullage.rag.stream import DEGRADED, Begun, begun, chunks, degraded_headers, whole
from ullage.rag.summary import summary_response
from ullage.rag.wire import Chunks, citations
from ullage.settings import Settings
from ullage.store.places import summary_place

MODEL = "ullage/rag"
"""What `/v1/models` lists; any other name in a request is taken for it."""


def create_app(
    settings: Settings, planned: ServicePlan | None = None, *, clients: Clients | None = None, watch_s: float = WATCH_S
) -> FastAPI:
    """Generate, search, vector stores, summary, configuration and health, beside the routes every service has.

    The pipeline is at `app.state.rag`; `watch_s` is how often its database is asked whether it is there. Raises
    SettingsError for summaries in a database whose driver is not installed.
    """
    summary_place(settings)  # whose driver is missing now or never
    rag = Rag(settings, clients or connect(settings))
    info = ServiceInfo(
        service="rag",
        models=(MODEL,),
        profile=planned.profile_id if planned else "",
        ledger=planned.ledger.as_dict() if planned else {},
    )
    app = build_app(info, RagLifecycle(rag, watch_s), max_body=int(settings.max_body))
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"],
                       expose_headers=[DEGRADED])
    app.state.rag = rag
    _add_routes(app, _Server(app, rag))
    return app


class _Server:
    """The handlers."""

    def __init__(self, app: FastAPI, rag: Rag) -> None:
        self._app = app
        self._rag = rag
        self._metrics = RagMetrics(app.state.registry)

    async def generate(self, body: Prompt) -> Response:
        """The blueprint's stream."""
        try:
            answer = await self._begun(body)
        except Exception as error:
            return as_stream(error)
        return EventStream(chunks(answer, Chunks(body.model or self._rag.settings.llm_model), self._metrics),
                           answer.headers)

    async def chat(self, request: Request) -> Response:
        """The blueprint's stream, or OpenAI's stream or object: see `rag/plain.py` for which."""
        body = await _json(request)
        if not wants_plain(body, self._rag.settings.chat_shape):
            try:
                return await self.generate(Prompt.model_validate(body))
            except ValidationError as error:
                return error_stream(faults_text(cast(Any, error.errors())), 422, pieces=True)
        try:
            asked = PlainChat.model_validate(body)
            prompt = asked.prompt()
        except ValidationError as error:
            return plain_fault(faults_text(cast(Any, error.errors())))
        try:
            return await self._plain(asked, prompt)
        except Exception as error:
            return plain_error(error)

    async def _plain(self, asked: PlainChat, prompt: Prompt) -> Response:
        answer = await self._begun(prompt)
        with_usage = bool((asked.stream_options or {}).get("include_usage"))
        shape = PlainChunks(asked.model or MODEL, with_usage)
        if asked.stream:
            return EventStream(chunks(answer, shape, self._metrics), answer.headers)
        said = await whole(answer, self._metrics)
        return JSONResponse(shape.body(said), headers=degraded_headers(said.answer.degraded))

    async def _begun(self, body: Prompt) -> Begun:
        self._ready()
        asked = asked_to_answer(self._rag, body)
        events = self._rag.answer(asked) if body.use_knowledge_base else self._rag.chat(asked, chat_of(body))
        cite = self._rag.settings.enable_citations if body.enable_citations is None else body.enable_citations
        return await begun(cast(AsyncGenerator[Event, None], events), cite=cite)

    async def search(self, body: DocumentSearch) -> Response:
        try:
            self._ready()
            ordered = await self._searched(asked_to_find(self._rag, body))
        except Exception as error:
            return as_message(error, search=True)
        found = citations(ordered.passages if body.enable_citations is not False else ())
        return JSONResponse({**found, "degraded": list(ordered.degraded), "notes": list(ordered.notes),
                             "search_query": ordered.question, "filter": ordered.filter},
                            headers=degraded_headers(ordered.degraded))

    async def search_store(self, vector_store_id: str, body: StoreSearch) -> Response:
        """OpenAI's vector store search over the collection of that name."""
        try:
            self._ready()
            asked = asked_of_store(self._rag, vector_store_id, body)
            ordered = await self._searched(asked)
        except Exception as error:
            return as_message(error)
        return JSONResponse(page_of(asked, ordered), headers=degraded_headers(ordered.degraded))

    async def _searched(self, asked: Any) -> Ordered:
        ordered = Ordered(())
        async for event in self._rag.search(asked):
            if isinstance(event, Ordered):
                ordered = event
        self._metrics.degraded(ordered.degraded)
        return ordered

    async def summary(
        self, file_name: str, collection_name: str | None = None, blocking: bool = False,
        timeout: float = 300,  # noqa: ASYNC109  (the contract's name)
    ) -> Response:
        settings = self._rag.settings
        try:
            return await summary_response(settings, collection_name or settings.collection, file_name,
                                        blocking=blocking, timeout_s=timeout)
        except UllageError as error:
            return as_message(error)

    async def configured(self) -> dict[str, Any]:
        return configuration(self._rag.settings)

    async def health(self, check_dependencies: bool = False) -> dict[str, Any]:
        """Always 200: whether this service is ready is said by `/v1/health/ready`."""
        return await report(self._rag.clients, self._rag.settings, check=check_dependencies)

    async def series(self) -> Response:
        return Response(generate_latest(self._app.state.registry), media_type=CONTENT_TYPE_LATEST)

    def _ready(self) -> None:
        """A pause is no reason to refuse: whether the database is back shows when it is asked."""
        health = self._app.state.health
        if not health.ready and health.state != "paused":
            raise NotReady(f"rag is not ready: {health.reason}", retry_after_s=2)


def _add_routes(app: FastAPI, server: _Server) -> None:
    refs = [{"$ref": f"#/components/schemas/{name}"} for name in ("Prompt",)]
    refs.append({"type": "object", "title": "OpenAI's chat completion request"})
    documented = {"requestBody": {"required": True, "content": {"application/json": {"schema": {"anyOf": refs}}}}}
    for prefix in ("", "/v1"):
        app.post(f"{prefix}/generate", tags=["rag"])(server.generate)
        app.post(f"{prefix}/chat/completions", tags=["rag"], openapi_extra=documented)(server.chat)
        app.post(f"{prefix}/search", tags=["rag"])(server.search)
        app.get(f"{prefix}/summary", tags=["rag"])(server.summary)
        app.get(f"{prefix}/configuration", tags=["rag"])(server.configured)
        app.get(f"{prefix}/health", tags=["health"])(server.health)
    app.post("/v2/vector_stores/{vector_store_id}/search", tags=["rag"])(server.search_store)
    app.get("/metrics", tags=["metrics"])(server.series)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return error_stream(faults_text(cast(Any, error.errors())), 422, pieces=True)


async def _json(request: Request) -> Any:
    try:
        return json.loads(await request.body())
    except ValueError as error:
        fault = {"type": "json_invalid", "loc": ("body",), "msg": f"JSON decode error: {error}"}
        raise RequestValidationError([fault]) from None
