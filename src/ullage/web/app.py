"""The page as a server: the routes that every service has, NiceGUI on top, and three ways through to other services."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import Annotated

import structlog
from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from nicegui import ui
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from ullage.errors import InvalidRequest, RequestError, UllageError
from ullage.http import Health, ServiceInfo, build_app
from ullage.http.door import Door
from ullage.http.errors import error_response
from ullage.http.keys import NO_KEYS
from ullage.plan import ServicePlan
from ullage.settings import LOOPBACK, Settings
from ullage.web.desk import Desk
from ullage.web.export import markdown
from ullage.web.guard import GuardMiddleware
from ullage.web.kept import Shelf
from ullage.web.looks import STATIC
from ullage.web.pulse import Pulse
from ullage.web.shell import add_pages

log = structlog.get_logger("ullage.web")
PICTURE_S = 600
"""How long a browser keeps the picture of a page."""

NO_PICTURE_S = 60
OURS = "x-ullage-page"
"""A header that no form of another site can send."""


class WebLifecycle:
    """Ready at once: the page says itself what is missing."""

    def __init__(self, desk: Desk, pulse: Pulse, shelf: Shelf) -> None:
        self._desk = desk
        self._pulse = pulse
        self._shelf = shelf
        self._looking: asyncio.Task[None] | None = None

    async def start(self, health: Health) -> None:
        health.loading("looking for kept conversations")
        try:
            await asyncio.to_thread(self._shelf.sweep)
        except OSError as error:
            log.warning("kept conversations cannot be swept", reason=error.strerror)
        self._looking = asyncio.create_task(self._pulse.run())

    async def stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        await self._desk.close()


def create_app(settings: Settings, planned: ServicePlan | None = None, *, desk: Desk | None = None) -> FastAPI:
    """NiceGUI keeps one app a process: a second call replaces the pages of the first."""
    desk = desk or Desk.of(settings)
    pulse = Pulse(desk.services)
    shelf = Shelf(settings.state_dir / "web" / "conversations")
    info = ServiceInfo(
        service="web",
        profile=planned.profile_id if planned else "",
        ledger=planned.ledger.as_dict() if planned else {},
    )
    door = Door.of(settings, "web")
    # A browser sends no key in a header: whoever has none is asked for it by a page of ours.
    app = build_app(info, WebLifecycle(desk, pulse, shelf), door=replace(door, keys=NO_KEYS),
                    max_body=int(settings.max_upload) + int(settings.max_body))
    app.user_middleware.append(Middleware(GuardMiddleware, keys=door.keys, secure=door.tls is not None,
                                          loopback=door.host in LOOPBACK))
    app.mount("/look", StaticFiles(directory=str(STATIC)), name="look")
    _add_ways_through(app, desk, shelf)
    add_pages(desk, pulse, shelf)
    ui.run_with(app, title="ullage", favicon=str(STATIC / "icon.svg"), tailwind=False, reconnect_timeout=5.0,
                message_history_length=100, show_welcome_message=False, binding_refresh_interval=None)
    return app


def _add_ways_through(app: FastAPI, desk: Desk, shelf: Shelf) -> None:
    @app.get("/page", include_in_schema=False)
    async def page(
        collection: str, document: str, page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        pixels: Annotated[int, Query(ge=16, le=4096)] = 1200,
    ) -> Response:
        """The picture of a page, as the ingestor makes it. That there is none is kept for a while too."""
        try:
            async with desk.ingest.page(collection, document, page, pixels) as answer:
                if answer.headers.get("content-type") != "image/png":
                    raise desk.ingest.wrong("/v1/pages", "something that is no picture")
                picture = await answer.aread()
        except RequestError as error:
            return error_response(error, headers={"Cache-Control": f"private, max-age={NO_PICTURE_S}"})
        return Response(picture, media_type="image/png", headers={"Cache-Control": f"private, max-age={PICTURE_S}"})

    @app.post("/upload", include_in_schema=False)
    async def upload(request: Request, collection: str) -> Response:
        """A multipart body goes to the ingestor piece by piece, as it comes in; nothing of it is kept here. A
        collection that is not there is made."""
        if OURS not in request.headers:
            return error_response(InvalidRequest(f"an upload needs the header {OURS}: use the page, or the ingestor"))
        headers = {name: request.headers[name] for name in ("content-type", "content-length")
                   if name in request.headers}
        try:
            if collection not in {one["collection_name"] for one in await desk.collections.get()}:
                await desk.ingest.create_collection(collection)
                desk.collections.forget()
            async with desk.ingest.upload(request.stream(), headers) as answer:
                await answer.aread()
                return JSONResponse(answer.json())
        except UllageError as error:
            log.warning("upload refused", reason=error.message)
            return error_response(error)

    @app.get("/conversation.md", include_in_schema=False)
    async def conversation(request: Request) -> Response:
        kept = await asyncio.to_thread(shelf.load, request.state.visitor)
        return StreamingResponse(iter([markdown(kept.turns)]), media_type="text/markdown; charset=utf-8", headers={
            "Content-Disposition": 'attachment; filename="conversation.md"', "Cache-Control": "no-store"})
