"""A stack of a command's own: temporary state, ports that nobody holds, the models fetched, gone afterwards."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ullage.cli.detached import tied_stack
from ullage.cli.invocation import Invocation
from ullage.cli.models import fetch, missing
from ullage.cli.plan import show_plan
from ullage.settings import SERVICES, VISION_TASKS, Settings
from ullage.settings.model import prefix_of

if TYPE_CHECKING:
    from ullage.stack.state import ServiceRecord


@contextmanager
def own_stack(
    asked: Invocation, console: Console, *, memory: str | None = None, vision: bool | None = None
) -> Iterator[Settings]:
    """The settings of a stack that is ready inside the block. What it takes and how it starts is shown.

    `vision`: with the vision service; None leaves that to the settings.
    """
    from ullage.stack.place import place

    with tempfile.TemporaryDirectory(prefix="ullage-") as folder:
        effective = asked.load(memory=memory, state_dir=Path(folder), enable_web=False, enable_vision=vision,
                               rag_url="", ingest_url="", **free_ports())
        settings = effective.settings
        _fetch_models(console, settings)
        head(console, "plan")
        show_plan(console, place(settings))
        head(console, "start")
        with tied_stack(effective, asked.config, _Ready(console).hear):
            yield settings


def head(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold", markup=False)


def free_ports() -> dict[str, Any]:
    """A port setting for every service, and for every task of the vision service."""
    wanted = [*SERVICES, *map(prefix_of, VISION_TASKS)]
    with ExitStack() as held:
        sockets = [held.enter_context(socket()) for _ in wanted]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return {f"{name}_port": o.getsockname()[1] for name, o in zip(wanted, sockets, strict=True)}


def _fetch_models(console: Console, settings: Settings) -> None:
    from ullage.stack.place import cards

    head(console, "models")
    wanted = list(cards(settings, (*SERVICES, "vision") if settings.enable_vision else SERVICES).values())
    fetch(missing(wanted, settings.cache_dir), settings.cache_dir)
    for card in wanted:
        console.print(f"{card.role}: {card.name} ({card.kind}, {card.precision}, {card.licence})", markup=False)


@dataclass(slots=True)
class _Ready:
    """Tells once of each service that it is ready."""

    console: Console
    begun: float = field(default_factory=time.perf_counter)
    told: set[str] = field(default_factory=set)

    def hear(self, record: ServiceRecord) -> None:
        if record.state == "ready" and record.service not in self.told:
            self.told.add(record.service)
            self.console.print(f"{record.service} is ready on port {record.port} "
                               f"after {time.perf_counter() - self.begun:.1f} s")
