"""The vision service over HTTP: one process and one set of models, and a port for every task, as the 1.x NIMs have it.

The app of the first task carries the process; those of the others answer at their own ports.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from ullage.engines.vision.chart import HOW
from ullage.errors import UnknownModel
from ullage.http import ServiceInfo, build_app
from ullage.http.door import Door
from ullage.http.metrics import PhaseMetrics
from ullage.models.card import Card
from ullage.plan import ServicePlan
from ullage.serve.vision.grpc import DetectionModel, OcrModel
from ullage.serve.vision.labels import labels_of
from ullage.serve.vision.lifecycle import VisionLifecycle, add_pool_metrics
from ullage.serve.vision.routes import add_infer_route, add_named_routes
from ullage.serve.vision.service import VisionService, names_of
from ullage.settings import Settings, VisionTask
from ullage.settings.model import prefix_of


def create_app(settings: Settings, planned: ServicePlan) -> FastAPI:
    """The app of the first task's port; requests to the ports of the others are handed on inside it."""
    if planned.card is None:
        raise UnknownModel("the vision service needs a model: leave vision_model at ullage/page-vision")
    lifecycle = VisionLifecycle(settings, planned)
    return assemble(settings, planned, planned.card, lifecycle)


def assemble(settings: Settings, planned: ServicePlan, card: Card, lifecycle: VisionLifecycle) -> FastAPI:
    """The apps of all tasks around one lifecycle."""
    apps = {port: _app_of(task, settings, planned, card, lifecycle) for port, task in settings.vision_ports().items()}
    first, *others = apps.values()
    if others:
        first.add_middleware(ByPort, apps={port: app for port, app in apps.items() if app is not first})
        first.router.lifespan_context = _together(first, others)
    return first


def _app_of(
    task: VisionTask, settings: Settings, planned: ServicePlan, card: Card, lifecycle: VisionLifecycle
) -> FastAPI:
    door = replace(Door.of(settings, "vision"), grpc_port=getattr(settings, f"{prefix_of(task)}_grpc_port"))
    info = ServiceInfo(
        service=task,
        models=names_of(task, settings).listed,
        revision=card.revision,
        licence=card.licence,
        profile=planned.profile_id,
        ledger=planned.ledger.as_dict(),
        model_fields={"ullage": {"kind": "vision", "task": task}},
        metadata=_about(task, settings),
    )
    app = build_app(info, lifecycle, max_body=int(settings.max_body), door=door)
    add_pool_metrics(app.state.registry, lifecycle)
    service = VisionService(card, settings, lifecycle, app.state.health, PhaseMetrics(app.state.registry))
    add_infer_route(app, service, task)
    add_named_routes(app, service)
    app.state.kserve = OcrModel(service) if task == "ocr" else DetectionModel(service, task)
    return app


def _about(task: VisionTask, settings: Settings) -> dict[str, Any]:
    """The labels of a task and how they come about."""
    told: dict[str, Any] = {"labels": list(labels_of(task, settings.page_elements_version))}
    return {**told, "how": HOW} if task == "graphic-elements" else told


class ByPort:
    """Hands a request to the app of the port at which it came in."""

    def __init__(self, app: ASGIApp, *, apps: Mapping[int, FastAPI]) -> None:
        self._app = app
        self._apps = apps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        port = (scope.get("server") or ("", 0))[1]
        await self._apps.get(port, self._app)(scope, receive, send)


def _together(first: FastAPI, others: list[FastAPI]) -> Any:
    """The lifespan of the first app around those of the others."""
    own = first.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Any]:
        async with AsyncExitStack() as stack:
            state = await stack.enter_async_context(own(app))
            for other in others:
                await stack.enter_async_context(other.router.lifespan_context(other))
            yield state

    return lifespan
