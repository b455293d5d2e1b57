"""The supervisor's own door: HTTP on a unix socket that only its user may connect to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ullage.clients.stack import control_socket
from ullage.errors import UllageError, outcome
from ullage.http.aside import serving
from ullage.stack.process import private_listener
from ullage.stack.report import Report
from ullage.stack.room import no_room
from ullage.stack.supervisor import Supervisor


class Control:
    """`GET /v1/status`, `POST /v1/services/{service}/restart`, `POST /v1/stop`."""

    def __init__(self, supervisor: Supervisor, report: Report, stop: asyncio.Event) -> None:
        self._supervisor = supervisor
        self._report = report
        self._stop = stop
        self._restarts: set[asyncio.Task[JSONResponse]] = set()

    @contextlib.asynccontextmanager
    async def open(self, state_dir: Path) -> AsyncIterator[None]:
        """Answers inside the block. Raises OSError when the socket cannot be made."""
        path = control_socket(state_dir)
        listener = private_listener(path)
        try:
            async with serving(self._app(), [listener]):
                yield
        finally:
            listener.close()
            path.unlink(missing_ok=True)
            for task in self._restarts:
                task.cancel()

    def _app(self) -> Starlette:
        return Starlette(routes=[
            Route("/v1/status", self._status, methods=["GET"]),
            Route("/v1/services/{service}/restart", self._restart, methods=["POST"]),
            Route("/v1/stop", self._end, methods=["POST"]),
        ])

    async def _status(self, _: Request) -> JSONResponse:
        return JSONResponse(await asyncio.to_thread(self._report.now, list(self._supervisor.records.values())))

    async def _end(self, _: Request) -> JSONResponse:
        self._stop.set()
        return JSONResponse({"stopping": True})

    async def _restart(self, request: Request) -> JSONResponse:
        """Goes on when the caller does not wait for it."""
        service = request.path_params["service"]
        task = asyncio.create_task(self._restarted(service))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)
        if request.query_params.get("wait") == "false" and service in self._supervisor.records:
            return JSONResponse({"service": service, "how": "begun", "why": ""}, 202)
        return await asyncio.shield(task)

    async def _restarted(self, service: str) -> JSONResponse:
        try:
            planned = {p.service: p.service for p in self._report.plan.services}.get(service)  # type: ignore[call-overload]
            why = ""
            if planned is not None:
                why = await asyncio.to_thread(no_room, self._report.plan, self._report.settings, planned)
            done = await self._supervisor.restart(service, why)
        except UllageError as error:
            found = outcome(error)
            body: dict[str, Any] = {"message": error.message, "type": found.kind}
            return JSONResponse(body, found.http_status)
        return JSONResponse(asdict(done))
