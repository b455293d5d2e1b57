"""One open page: who it is, what it may show, and how it tells."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from nicegui import background_tasks, ui
from nicegui.client import Client

from ullage.errors import UllageError
from ullage.web.desk import Desk
from ullage.web.kept import Kept, Shelf
from ullage.web.looks import page
from ullage.web.pulse import Pulse

log = structlog.get_logger("ullage.web")


@dataclass(slots=True)
class Told:
    """What the person did: the value and the form's fields of the element that was used."""

    value: str = ""
    form: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, told: Any) -> Told:
        """Of what the browser sent, which may be anything."""
        told = told if isinstance(told, dict) else {}
        form = told.get("form")
        return cls(str(told.get("value") or ""),
                   {str(name): str(value) for name, value in form.items()} if isinstance(form, dict) else {})


@dataclass(slots=True)
class Visit:
    """`tasks` end with the page."""

    desk: Desk
    pulse: Pulse
    shelf: Shelf
    visitor: str
    kept: Kept
    client: Client
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def toast(self, text: str, kind: str = "info") -> None:
        """A line at the edge of the page that goes by itself; `kind` is info, good or bad."""
        self.run("ullage.toast", text, kind)

    def run(self, function: str, *values: object) -> None:
        """Call a function of `page.js`; a page that is gone hears nothing."""
        if not self.client.has_socket_connection:
            return
        from nicegui.json import dumps

        self.client.run_javascript(f"{function}({','.join(dumps(value) for value in values)})")

    async def keep(self) -> None:
        try:
            await asyncio.to_thread(self.shelf.save, self.visitor, self.kept)
        except OSError as error:
            log.warning("the conversation was not kept", reason=error.strerror)
            self.toast(f"This conversation cannot be kept: {error.strerror}", "bad")

    def begin(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[Any]:
        """In the background, until it is done or the page is gone. What a service says against it becomes a toast."""
        task = background_tasks.create(self._telling(work), name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def leave(self) -> None:
        for task in tuple(self.tasks):
            task.cancel()

    async def _telling(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except UllageError as error:
            self.toast(error.message, "bad")


class Panel(Protocol):
    """One of the page's parts. `open` and `close` say whether it is the one in front."""

    def build(self) -> None: ...

    def open(self) -> None: ...

    def close(self) -> None: ...

    async def act(self, name: str, told: Told) -> None: ...


class Polled:
    """What a panel has that is asked for at once, and again and again while it is in front. `build` makes the timer."""

    _timer: ui.timer | None = None

    def __init__(self, visit: Visit, label: str) -> None:
        self._visit = visit
        self._label = label

    def open(self) -> None:
        self._visit.begin(self._refresh(), self._label)
        if self._timer is not None:
            self._timer.activate()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.deactivate()

    async def _refresh(self) -> None:
        raise NotImplementedError


def part(template: str, tag: str = "div", /, **values: Any) -> ui.html:
    """A part of the page that is drawn by a template; the browser cleans it once more."""
    return ui.html(page(template, **values), tag=tag, sanitize=True)


def redraw(element: ui.html, template: str, /, **values: Any) -> None:
    """Draw it again when that changes anything."""
    if not element.is_deleted:
        element.set_content(page(template, **values))
