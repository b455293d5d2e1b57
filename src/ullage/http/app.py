"""The app every server starts from: standard routes, limits, errors, and a start that does not block `live`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import structlog
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from ullage.errors import SettingsError, UllageError
from ullage.http.door import Door, hang
from ullage.http.errors import install_error_handlers
from ullage.http.gate import ByteGate, GateMiddleware
from ullage.http.health import Health
from ullage.http.identity import ServiceInfo, add_identity_routes
from ullage.http.memory import Held, Memory, add_memory_routes
from ullage.http.metrics import HttpMetrics, gauge
from ullage.http.middleware import RequestMiddleware
from ullage.version import __version__

log = structlog.get_logger("ullage.http")
DRAIN_S = 30.0
"""For calls in flight when the server stops, unless `run_server` was told another."""


class Lifecycle(Protocol):
    """What a service does between `live` and `ready`, and on the way out."""

    async def start(self, health: Health) -> None:
        """Load until a real forward pass succeeded. Raises UllageError when the service cannot run."""

    async def stop(self) -> None:
        """Finish accepted work and give memory back."""


def build_app(info: ServiceInfo, lifecycle: Lifecycle, *, max_body: int, door: Door | None = None) -> FastAPI:
    """A FastAPI app with live, ready, models, metadata, version, memory and metrics.

    `app.state.health`, `app.state.registry` and `app.state.failure` (the error that ended the start, or None). A model
    at `app.state.kserve` is served over gRPC too where the door has a port for it. Without a door, `run_server` gives
    the app one.
    """
    health = Health()
    registry = CollectorRegistry()
    memory = lifecycle.memory if isinstance(lifecycle, Held) else Memory(info.profile, info.ledger)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        grpc = await _start_grpc(app, memory.gate, max_body)
        starting = asyncio.create_task(_start(app, info, memory, lifecycle, health))
        yield
        health.stopping()
        if grpc is not None:
            await grpc.stop(app.state.drain_s)
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        await lifecycle.stop()

    app = FastAPI(title=f"ullage {info.service}", version=__version__, lifespan=lifespan,
                  openapi_url="/v1/openapi.json", docs_url="/v1/docs")
    app.state.health, app.state.registry, app.state.failure, app.state.on_failure = health, registry, None, None
    app.state.kserve, app.state.drain_s = None, DRAIN_S
    if memory.gate is not None:
        app.add_middleware(GateMiddleware, gate=memory.gate)
    app.add_middleware(RequestMiddleware, max_body=max_body, metrics=HttpMetrics(registry))
    if door is not None:
        hang(app, door)
    install_error_handlers(app)
    _health_routes(app, health)
    add_identity_routes(app, info)
    add_memory_routes(app, memory, registry)
    _metrics_route(app, registry)
    _document_routes(app)
    return app


async def _start_grpc(app: FastAPI, gate: ByteGate | None, max_body: int) -> Any:
    """The gRPC server, or None where there is none. A port that is taken ends the start, as one of HTTP does."""
    door: Door | None = getattr(app.state, "door", None)
    if app.state.kserve is None or door is None or door.grpc_port is None:
        return None
    from ullage.http.grpc.server import serve_grpc

    try:
        return await serve_grpc(app.state.kserve, door, gate, max_body=max_body)
    except SettingsError as error:
        app.state.failure = error.with_traceback(None)  # whose frames would keep the dead server until the end
        if app.state.on_failure is not None:
            app.state.on_failure()
        return None


async def _start(app: FastAPI, info: ServiceInfo, memory: Memory, lifecycle: Lifecycle, health: Health) -> None:
    begun = time.perf_counter()
    if app.state.failure is not None:
        health.failed(app.state.failure.message)
        return
    try:
        await lifecycle.start(health)
    except UllageError as error:
        health.failed(error.message)
        app.state.failure = error
        log.error("cannot start", reason=error.message)
        if app.state.on_failure is not None:
            app.state.on_failure()
        return
    # What runs may be smaller than what was planned: a profile that did not load steps down.
    info.profile, info.ledger = memory.profile, dict(memory.ledger)
    health.set_ready()
    log.info("ready", profile=info.profile, seconds=round(time.perf_counter() - begun, 3))


def _health_routes(app: FastAPI, health: Health) -> None:
    @app.get("/v1/health/live", tags=["health"])
    async def live() -> dict[str, object]:
        return {"object": "health.response", "message": "Service is live.", "status": "live"}

    @app.get("/v1/health/ready", tags=["health"], responses={503: {"description": "not ready, with the reason"}})
    async def ready() -> JSONResponse:
        return JSONResponse(health.body(), 200 if health.ready else 503)


def _document_routes(app: FastAPI) -> None:
    """The NIM's shorter paths to what `/v1/openapi.json` and `/v1/docs` show."""

    @app.get("/openapi.json", include_in_schema=False)
    async def document() -> RedirectResponse:
        return RedirectResponse("/v1/openapi.json")

    @app.get("/docs", include_in_schema=False)
    async def page() -> RedirectResponse:
        return RedirectResponse("/v1/docs")


def _metrics_route(app: FastAPI, registry: CollectorRegistry) -> None:
    begun = time.time()
    gauge(registry, "ullage_ready", "1 when ready", lambda: float(app.state.health.ready))
    gauge(registry, "ullage_started_unix_seconds", "When this process began", lambda: begun)

    @app.get("/v1/metrics", tags=["metrics"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
