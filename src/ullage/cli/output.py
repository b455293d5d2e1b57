"""Where and how commands print."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

JSON_HELP = "print JSON and nothing else"


def out() -> Console:
    """Standard output, as it is now: tests and pipes replace it. Long lines are left whole where nobody looks."""
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if not console.is_terminal:
        console.width = 240
    return console


def err() -> Console:
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_error(message: str) -> None:
    """The one line in which a command fails."""
    print(f"error: {message}", file=sys.stderr)


def table(*columns: str, right: tuple[str, ...] = (), title: str | None = None) -> Table:
    """A plain table; the columns named in `right` hold numbers. Only the last column may break over lines."""
    made = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold",
                        no_wrap=column != columns[-1])
    return made


def mib(size: int) -> str:
    """Bytes as MiB with one decimal below ten."""
    value = size / (1 << 20)
    return f"{value:,.1f} MiB" if 0 < value < 10 else f"{value:,.0f} MiB"


def ago(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
