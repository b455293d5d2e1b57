"""`ullage status`: predicted beside measured, for the stack that runs now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, ago, mib, out, print_json, table
from ullage.errors import OUTCOMES, Unavailable

if TYPE_CHECKING:
    from ullage.stack.status import ServiceStatus

WIDE = 110
"""Columns of a terminal in which the whole table fits."""

NOT_RUNNING = OUTCOMES[Unavailable].exit_code


def status(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False
) -> None:
    """Every service of the running stack: state, memory predicted and measured, restarts. Exit code 6: none runs."""
    from ullage.stack.status import stack_status

    state_dir = invocation(context).load().settings.state_dir
    found = asyncio.run(stack_status(state_dir))
    if as_json:
        print_json(asdict(found))
    elif not found.running:
        out().print(f"no stack runs on {state_dir}: start one with `ullage up`")
    else:
        console = out()
        console.print(status_table(found.services, wide=console.width >= WIDE))
        out().print(f"supervisor pid {found.pid}, budget {mib(found.budget_bytes)} ({found.budget_source})")
    if not found.running:
        raise typer.Exit(NOT_RUNNING)


def status_table(services: Sequence[ServiceStatus], *, wide: bool = True) -> Table:
    """`wide` adds the ratio, the process and for how long it has been up."""
    columns = ["service", "port", "profile", "predicted", "measured", "restarts", "state"]
    numbers = ("port", "predicted", "measured", "restarts", "ratio", "pid", "up")
    shown = table(*columns[:-1], *(("ratio", "pid", "up") if wide else ()), columns[-1], right=numbers)
    for s in services:
        up = ago(time.time() - s.started_unix_s) if s.started_unix_s else ""
        more = ("" if s.ratio is None else f"{s.ratio:.2f}", str(s.pid or ""), up) if wide else ()
        shown.add_row(s.service, str(s.port), s.profile, mib(s.predicted_bytes), mib(s.resident_bytes),
                      str(s.restarts), *more, f"{s.state}: {s.reason}" if s.reason else s.state)
    predicted, measured = sum(s.predicted_bytes for s in services), sum(s.resident_bytes for s in services)
    ratio = (f"{measured / predicted:.2f}",) if wide and predicted else ()
    shown.add_row("sum", "", "", mib(predicted), mib(measured), "", *ratio)
    return shown


def register(app: typer.Typer) -> None:
    app.command()(status)
