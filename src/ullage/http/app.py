"""The app every server starts from: standard routes, limits, errors, and a start that does not block `live`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from ullage.errors import UllageError
from ullage.http.errors import install_error_handlers
from ullage.http.gate import GateMiddleware
from ullage.http.health import Health
from ullage.http.memory import Held, Memory, add_memory_routes
from ullage.http.metrics import HttpMetrics, gauge
from ullage.http.middleware import RequestMiddleware
from ullage.version import __version__

log = structlog.get_logger("ullage.http")


class Lifecycle(Protocol):
    """What a service does between `live` and `ready`, and on the way out."""

    async def start(self, health: Health) -> None:
        """Load until a real forward pass succeeded. Raises UllageError when the service cannot run."""

    async def stop(self) -> None:
        """Finish accepted work and give memory back."""


@dataclass(slots=True)
class ServiceInfo:
    """What a server says of itself. `ledger` maps each part of the plan to bytes; `models` may be empty."""

    service: str
    models: tuple[str, ...] = ()
    revision: str = ""
    licence: str = "Apache-2.0"
    profile: str = ""
    ledger: dict[str, int] = field(default_factory=dict)
    model_fields: dict[str, Any] = field(default_factory=dict)

    @property
    def planned_bytes(self) -> int:
        return sum(self.ledger.values())


def build_app(info: ServiceInfo, lifecycle: Lifecycle, *, max_body: int) -> FastAPI:
    """A FastAPI app with live, ready, models, metadata, version, memory and metrics.

    `app.state.health`, `app.state.registry` and `app.state.failure` (the error that ended the start, or None).
    """
    health = Health()
    registry = CollectorRegistry()
    memory = lifecycle.memory if isinstance(lifecycle, Held) else Memory(info.profile, info.ledger)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        starting = asyncio.create_task(_start(app, info, memory, lifecycle, health))
        yield
        health.stopping()
        starting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await starting
        await lifecycle.stop()

    app = FastAPI(title=f"ullage {info.service}", version=__version__, lifespan=lifespan,
                  openapi_url="/v1/openapi.json", docs_url="/v1/docs")
    app.state.health, app.state.registry, app.state.failure, app.state.on_failure = health, registry, None, None
    if memory.gate is not None:
        app.add_middleware(GateMiddleware, gate=memory.gate)
    app.add_middleware(RequestMiddleware, max_body=max_body, metrics=HttpMetrics(registry))
    install_error_handlers(app)
    _health_routes(app, health)
    _identity_routes(app, info)
    add_memory_routes(app, memory, registry)
    _metrics_route(app, registry)
    return app


async def _start(app: FastAPI, info: ServiceInfo, memory: Memory, lifecycle: Lifecycle, health: Health) -> None:
    begun = time.perf_counter()
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


def _identity_routes(app: FastAPI, info: ServiceInfo) -> None:
    created = int(time.time())

    @app.get("/v1/models", tags=["identity"])
    async def models() -> dict[str, object]:
        return {
            "object": "list",
            "data": [
                {"id": name, "object": "model", "created": created, "owned_by": "ullage",
                 "root": info.models[0], **info.model_fields}
                for name in info.models
            ],
        }

    @app.get("/v1/metadata", tags=["identity"])
    async def metadata() -> dict[str, object]:
        return {
            "version": __version__,
            "modelInfo": [
                {"modelUrl": name, "shortName": f"{name.rsplit('/', 1)[-1]}:{info.revision or __version__}"}
                for name in info.models
            ],
            "repository_override": "",
            "assetInfo": [],
            "licenseInfo": {"name": info.licence, "path": "", "sha": "", "size": 0, "url": "", "type": "file",
                            "content": info.licence},
            "profile": info.profile,
        }

    @app.get("/v1/version", tags=["identity"])
    async def version() -> dict[str, str]:
        return {"release": __version__, "api": "1.10.0"}


def _metrics_route(app: FastAPI, registry: CollectorRegistry) -> None:
    gauge(registry, "ullage_ready", "1 when ready", lambda: float(app.state.health.ready))

    @app.get("/v1/metrics", tags=["metrics"])
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
