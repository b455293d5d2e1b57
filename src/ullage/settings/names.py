"""Every foreign name that is known, and the table of them."""

from __future__ import annotations

from ullage.settings.foreign import Name
from ullage.settings.names_blueprint import BLUEPRINT_NAMES
from ullage.settings.names_nim import NIM_NAMES

NAMES: dict[str, Name] = {known.name: known for known in (*NIM_NAMES, *BLUEPRINT_NAMES)}

PREFIXES = ("ULLAGE_", "NIM_", "APP_")
"""An unknown name that begins like this stops the start."""


def table() -> str:
    """A Markdown table of every name, its verdict and its effect."""
    lines = ["| name | verdict | effect |", "|---|---|---|"]
    lines += [f"| `{name}` | {known.verdict} | {known.effect} |" for name, known in sorted(NAMES.items())]
    return "\n".join(lines) + "\n"
