"""The page's frame: its parts, who is in front, and what becomes of a click."""

from __future__ import annotations

import asyncio

import structlog
from fastapi import Request
from nicegui import events, ui

from ullage.errors import UllageError
from ullage.http.tracing import traced
from ullage.version import __version__
from ullage.web.chat import Chat
from ullage.web.desk import Desk
from ullage.web.documents import Documents
from ullage.web.kept import Shelf
from ullage.web.looks import page
from ullage.web.pulse import Pulse
from ullage.web.rerank import Rerank
from ullage.web.stack import Stack
from ullage.web.visit import Panel, Told, Visit, part

log = structlog.get_logger("ullage.web")
PARTS = {"chat": "Chat", "documents": "Documents", "rerank": "Rerank", "stack": "Stack"}
ADDRESSES = {"/": "chat", "/documents": "documents", "/rerank": "rerank", "/stack": "stack"}

_EVENTS = ("click", "change", "submit")
_ACT = "(event) => ullage.act(event, emit)"


def add_pages(desk: Desk, pulse: Pulse, shelf: Shelf) -> None:
    """One page at four addresses; each opens with another part in front."""
    for address, first in ADDRESSES.items():
        _add_page(address, first, desk, pulse, shelf)


def _add_page(address: str, first: str, desk: Desk, pulse: Pulse, shelf: Shelf) -> None:
    @ui.page(address, title="ullage", dark=None)
    async def show(request: Request) -> None:
        visitor = request.state.visitor
        kept = await asyncio.to_thread(shelf.load, visitor)
        visit = Visit(desk, pulse, shelf, visitor, kept, ui.context.client)
        _Shell(visit, first).build()


class _Shell:
    """The parts of one open page."""

    def __init__(self, visit: Visit, first: str) -> None:
        self._visit = visit
        self._front = first
        chat = self._chat = Chat(visit)
        self._panels: dict[str, Panel] = {
            "chat": chat, "documents": Documents(visit, chat), "rerank": Rerank(visit, chat), "stack": Stack(visit),
        }
        self._places: dict[str, ui.element] = {}

    def build(self) -> None:
        ui.add_head_html(page("head.html", version=__version__))
        ui.add_body_html(page("boot.html"))
        ui.query(".nicegui-content").classes("bare")
        root = ui.element("div").classes("page")
        for name in _EVENTS:
            root.on(name, self._told, js_handler=_ACT)
        with root:
            part("top.html", "header", parts=PARTS, front=self._front, version=__version__).classes("top")
            with ui.element("main").classes("panels"):
                for name, title in PARTS.items():
                    self._build_part(name, title)
            self._chat.build_dialog()
        ui.on("sent", self._sent)
        client = self._visit.client
        client.on_connect(self._wake)
        client.on_disconnect(self._rest)
        client.on_delete(self._visit.leave)

    def _build_part(self, name: str, title: str) -> None:
        place = ui.element("section").classes(f"panel {name}").props(f'aria-label="{title}"')
        place.set_visibility(name == self._front)
        self._places[name] = place
        with place:
            self._panels[name].build()

    def _wake(self) -> None:
        self._panels[self._front].open()

    def _rest(self) -> None:
        """Nobody looks: nothing needs to be asked for."""
        self._panels[self._front].close()

    async def _sent(self) -> None:
        """The browser has sent a file."""
        await self._act(self._panels["documents"], "sent", Told())

    async def _told(self, event: events.GenericEventArguments) -> None:
        told = event.args if isinstance(event.args, dict) else {}
        panel, _, name = str(told.get("act", "")).partition(".")
        if panel == "show":
            self._bring(name)
        elif panel in self._panels:
            await self._act(self._panels[panel], name, Told.read(told))

    async def _act(self, panel: Panel, name: str, told: Told) -> None:
        try:
            with traced(f"page {name}"):
                await panel.act(name, told)
        except UllageError as error:
            self._visit.toast(error.message, "bad")
        except (KeyError, TypeError) as error:
            log.exception("a service answered in another shape", act=name)
            self._visit.toast(f"A service answered in a shape that this page does not know ({error}): are all of one "
                              "version?", "bad")

    def _bring(self, name: str) -> None:
        if name not in self._panels or name == self._front:
            return
        self._panels[self._front].close()
        self._places[self._front].set_visibility(False)
        self._front = name
        self._places[name].set_visibility(True)
        self._panels[name].open()


