"""The commands of `ullage`, each imported when it is asked for: a service that starts loads no other command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

MODULES = {
    "up": "up", "down": "up", "restart": "restart", "plan": "plan", "list-model-profiles": "plan", "devices": "devices",
    "status": "status", "settings": "settings", "serve": "serve", "ingest": "ingest", "ask": "ask", "search": "ask",
    "demo": "demo", "doctor": "doctor", "models": "models", "bench": "bench", "deploy": "deploy",
    "collection": "collection", "task": "task", "store": "store_copy",
}
"""Command -> the module of ullage.cli that has it, in the order of the help."""


class LazyCommands(Mapping[str, Any]):
    """The commands by name. A module of one has `register`; a module of a group of them has `app`."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._found:
            module = import_module(f"ullage.cli.{MODULES[name]}")
            holder = typer.Typer(rich_markup_mode=None)
            if hasattr(module, "register"):
                module.register(holder)
            else:
                holder.add_typer(module.app, name=name)
            self._found.update(get_group(holder).commands)
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(MODULES)

    def __len__(self) -> int:
        return len(MODULES)


class LazyGroup(TyperGroup):
    """The group of all commands of `ullage`."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = LazyCommands()  # type: ignore[assignment]

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(self.commands)
