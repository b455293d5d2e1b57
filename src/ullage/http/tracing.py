"""Traces from the page to the engine (OpenTelemetry, extra `otel`); nothing of it is there without `otel_endpoint`.

A request's span is the child of its caller's, by the `traceparent` header (W3C Trace Context); our own clients send it
on (`clients/base.py`). The phases that a model service measures anyway become spans of their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ullage.errors import SettingsError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

TRACEPARENT = "traceparent"
QUIET = ("/v1/health", "/v1/metrics", "/health")
"""Asked every few seconds by machines; a trace of these says nothing."""

_tracer: Any = None
"""One process is one service."""


def install_tracing(app: FastAPI, service: str, endpoint: str, exporter: SpanExporter | None = None) -> None:
    """Before the app starts; what is left is sent when the process ends. `endpoint` is the base of an OTLP collector
    over HTTP; `exporter` takes its place.

    Raises SettingsError without the extra.
    """
    global _tracer
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise SettingsError(f"otel_endpoint={endpoint} needs the extra otel: pip install 'ullage[otel]', "
                            "or leave it out") from None
    out = exporter or OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider = TracerProvider(resource=Resource.create({"service.name": f"ullage-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(out))
    _tracer = provider.get_tracer("ullage")
    app.state.traces = provider
    app.user_middleware.insert(1, Middleware(TraceMiddleware, tracer=_tracer))


class TraceMiddleware:
    """A server span around each request but those of machines; callers' ids are taken as they are."""

    def __init__(self, app: ASGIApp, *, tracer: Any) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = tracer
        self._context = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(QUIET):
            await self._app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind

        carried = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
                   if name in (b"traceparent", b"tracestate")}
        parent = self._context.extract(carried)
        with self._tracer.start_as_current_span(f"{scope['method']} {scope['path']}", parent, SpanKind.SERVER) as span:
            sent: dict[str, str] = {}
            self._context.inject(sent)
            structlog.contextvars.bind_contextvars(traceparent=sent[TRACEPARENT])
            span.set_attribute("http.request.method", scope["method"])

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                await send(message)

            try:
                await self._app(scope, receive, noted)
            finally:
                route = getattr(scope.get("route"), "path", None)
                if route:
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.route", route)
                structlog.contextvars.unbind_contextvars("traceparent")


@contextmanager
def traced(name: str) -> Iterator[None]:
    """A span for work that no request began, as an act on the page; what services are asked inside stands under it."""
    if _tracer is None:
        yield
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    with _tracer.start_as_current_span(name):
        sent: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(sent)
        with structlog.contextvars.bound_contextvars(traceparent=sent[TRACEPARENT]):
            yield


def trace_phases(seconds: Mapping[str, float]) -> None:
    """Spans of phases that have just ended, one after the other, under the request's."""
    if _tracer is None:
        return
    at = time.time_ns() - int(sum(seconds.values()) * 1e9)
    for phase, value in seconds.items():
        span = _tracer.start_span(phase, start_time=at)
        at += int(value * 1e9)
        span.end(end_time=at)
