"""One question is one trace: the caller's span, the service's, and the phases of its engine."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from ullage.clients.base import ModelClient
from ullage.clients.once import Once
from ullage.http import Health, ServiceInfo, build_app, tracing
from ullage.http.metrics import PhaseMetrics

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


class Idle:
    async def start(self, health: Health) -> None:
        pass

    async def stop(self) -> None:
        pass


@pytest.fixture(autouse=True)
def no_tracer_left(monkeypatch):
    monkeypatch.setattr(tracing, "_tracer", None)


def model_service(exporter=None, endpoint="http://127.0.0.1:9"):
    app = build_app(ServiceInfo("ranking"), Idle(), max_body=1 << 20)
    phases = PhaseMetrics(app.state.registry)

    @app.post("/v1/rank/{name}")
    async def rank(name: str) -> dict[str, str]:
        phases.observe({"tokenize": 0.01, "queue": 0.02, "compute": 0.03})
        return {"ranked": name}

    tracing.install_tracing(app, "ranking", endpoint, exporter)
    return app


def spans(app, exporter):
    assert app.state.traces.force_flush()
    return {span.name: span for span in exporter.get_finished_spans()}


async def test_a_span_joins_its_callers_trace_and_holds_the_phases(serve):
    exporter = InMemorySpanExporter()
    app = model_service(exporter)
    async with serve(app) as client:
        assert (await client.post("/v1/rank/secret-name", headers=CALLER)).status_code == 200
        assert (await client.get("/v1/health/ready", headers=CALLER)).status_code == 200
        found = spans(app, exporter)
    assert set(found) == {"POST /v1/rank/{name}", "tokenize", "queue", "compute"}
    request = found["POST /v1/rank/{name}"]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert request.attributes["http.response.status_code"] == 200
    assert request.resource.attributes["service.name"] == "ullage-ranking"
    for phase in ("tokenize", "queue", "compute"):
        assert found[phase].parent.span_id == request.context.span_id
    assert found["queue"].start_time == found["tokenize"].end_time
    assert found["compute"].end_time - found["compute"].start_time == pytest.approx(30e6, abs=10)


async def test_our_own_clients_carry_the_trace_on(serve):
    """A service that asks another while it answers: the other's span is its child."""
    exporter = InMemorySpanExporter()
    inner = model_service(exporter)
    front = build_app(ServiceInfo("rag"), Idle(), max_body=1 << 20)
    async with serve(inner):
        other = ModelClient("http://service", role="ranking", model="m", timeout_s=30,
                            transport=httpx.ASGITransport(inner))

        @front.post("/ask")
        async def ask() -> dict[str, str]:
            return dict(await other.call("POST", "/v1/rank/x"))

        tracing.install_tracing(front, "rag", "http://127.0.0.1:9", exporter)
        async with serve(front) as client:
            assert (await client.post("/ask", headers=CALLER)).json() == {"ranked": "x"}
            assert front.state.traces.force_flush()
            found = spans(inner, exporter)
        await other.close()
    asked, ranked = found["POST /ask"], found["POST /v1/rank/{name}"]
    assert ranked.parent.span_id == asked.context.span_id
    assert f"{ranked.context.trace_id:032x}" == TRACE


async def test_an_act_on_the_page_begins_a_trace(serve):
    """No request carries it in: the page speaks over a websocket."""
    exporter = InMemorySpanExporter()
    inner = model_service(exporter)
    other = Once("http://service", role="ranking", transport=httpx.ASGITransport(inner))
    async with serve(inner):
        with tracing.traced("page ask"):
            assert await other.ask("POST", "/v1/rank/x", body={}) == {"ranked": "x"}
        found = spans(inner, exporter)
        await other.close()
    assert found["page ask"].parent is None
    assert found["POST /v1/rank/{name}"].parent.span_id == found["page ask"].context.span_id


class _Collector(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.seen.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


async def test_a_collector_gets_them_over_otlp(serve):
    with HTTPServer(("127.0.0.1", 0), _Collector) as collector:
        collector.seen = []
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        try:
            app = model_service(endpoint=f"http://127.0.0.1:{collector.server_port}")
            async with serve(app) as client:
                await client.post("/v1/rank/x", headers=CALLER)
        finally:
            app.state.traces.shutdown()
            collector.shutdown()
            thread.join()
    [(path, sent)] = collector.seen
    assert path == "/v1/traces"
    names = {span.name for r in sent.resource_spans for s in r.scope_spans for span in s.spans}
    assert "POST /v1/rank/{name}" in names


async def test_without_an_endpoint_nothing_is_traced(serve):
    app = build_app(ServiceInfo("ranking"), Idle(), max_body=1 << 20)
    assert not [m for m in app.user_middleware if m.cls is tracing.TraceMiddleware]
    PhaseMetrics(app.state.registry).observe({"compute": 1.0})
