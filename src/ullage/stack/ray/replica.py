"""One replica: an app of ours in a Ray worker, ready when the app is, drained before it goes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ullage.errors import NotReady, UllageError
from ullage.settings import Service, Settings
from ullage.stack.ray.autoscale import load_of
from ullage.stack.ray.resources import in_a_worker

if TYPE_CHECKING:
    from fastapi import FastAPI

APPS: dict[Service, str] = {
    "ranking": "ullage.serve.ranking.app",
    "embedding": "ullage.serve.embedding.app",
    "vision": "ullage.serve.vision.app",
    "rag": "ullage.rag.server",
}
ANSWERED_BY = "x-ullage-replica"
"""Header of every answer of a replica. What comes without it was said by Ray, of a replica that is gone."""

ASKED_AT = b"x-ullage-port"
"""Header by which a front says at which of its ports a request came in: vision means another task by each."""

LOOK_S = 0.05


class Replica:
    """Built by Serve in a worker: the constructor, then the app, then its lifespan, then `check_health`."""

    def __init__(self, service: Service, settings: Settings) -> None:
        from ullage.http.logs import configure_logs

        configure_logs(settings.log_level, settings.log_format, service)
        self._service = service
        self._settings = settings
        self._name = uuid.uuid4().hex[:12]
        self._api: FastAPI

    def __serve_build_asgi_app__(self) -> ASGIApp:
        self._api = app_of(self._service, self._settings)
        return Signed(self._api, self._name)

    async def check_health(self) -> None:
        """Returns when the app is ready. Serve sends nothing before, and replaces a replica that stays unready.

        Raises what keeps the app from starting, or NotReady.
        """
        health = self._api.state.health
        while health.state == "loading":  # noqa: ASYNC110 - a plain value, which others poll too
            await asyncio.sleep(LOOK_S)
        if self._api.state.failure is not None:
            failure: UllageError = self._api.state.failure
            raise failure
        if not health.ready:
            raise NotReady(f"{self._service} is not ready: {health.reason}")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `autoscale.by_work` decides by; nothing for an app with neither scheduler nor pool."""
        return load_of(self._api.state.registry)


class Signed:
    """An app whose answers say which replica they are of. A plain ASGI app: what it streams passes as it comes."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        self._app = app
        self._header = (ANSWERED_BY.encode(), name.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def signed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), self._header]
            await send(message)

        await self._app(_at_its_port(_without_prefix(scope)), receive, signed if scope["type"] == "http" else send)


def _without_prefix(scope: Scope) -> Scope:
    """As our apps see it without Ray: the route prefix of the deployment is no part of the path."""
    prefix = scope.get("root_path", "")
    path = scope.get("path", "")
    if not prefix or not path.startswith(prefix):
        return scope
    return {**scope, "root_path": "", "path": path[len(prefix):] or "/",
            "raw_path": scope["raw_path"].removeprefix(prefix.encode()) if scope.get("raw_path") else None}


def _at_its_port(scope: Scope) -> Scope:
    """As the app sees it without Ray: at the port where the caller asked, instead of the proxy's."""
    said = next((value for name, value in scope.get("headers", ()) if name == ASKED_AT), b"")
    if not said.isdigit():
        return scope
    host = (scope.get("server") or ("", 0))[0]
    return {**scope, "server": (host, int(said))}


def app_of(service: Service, settings: Settings) -> FastAPI:
    """The app of a service, planned for the machine that this process is on."""
    from ullage.http.door import Door, hang
    from ullage.stack.doors import take_keys
    from ullage.stack.place import place_one

    take_keys(settings)
    create = cast("Callable[..., FastAPI]", import_module(APPS[service]).create_app)
    if service == "rag":
        app = create(settings)
    else:
        planned = place_one(_without_worker(settings, service), service)[service]
        app = create(settings, replace(planned, ledger=in_a_worker(planned.ledger)))
    hang(app, Door.of(settings.model_copy(update={"tls_cert": None, "tls_key": None}), service))
    return app


def _without_worker(settings: Settings, service: Service) -> Settings:
    """The budget of the service alone: what the worker takes beside it is no room for a larger profile."""
    from ullage.stack.ray.resources import WORKER_BYTES

    own: Any = getattr(settings, f"{service}_memory")
    return settings if own is None else settings.model_copy(update={f"{service}_memory": own - WORKER_BYTES})
