"""Every foreign name that is known, and the table of them."""

from __future__ import annotations

from ullage.settings.foreign import Name
from ullage.settings.names_blueprint import BLUEPRINT_NAMES
from ullage.settings.names_nim import NIM_NAMES

NAMES: dict[str, Name] = {known.name: known for known in (*NIM_NAMES, *BLUEPRINT_NAMES)}

PREFIXES = ("ULLAGE_", "NIM_", "APP_")
"""An unknown name that begins like this stops the start."""


def rows() -> list[tuple[str, str, str]]:
    """(name, verdict, effect) of every foreign name, by name."""
    return [(name, known.verdict, known.effect) for name, known in sorted(NAMES.items())]


def table() -> str:
    """The rows as a Markdown table."""
    lines = ["| name | verdict | effect |", "|---|---|---|"]
    lines += [f"| `{name}` | {verdict} | {effect} |" for name, verdict, effect in rows()]
    return "\n".join(lines) + "\n"
