"""`ullage settings`: every value in force and where it came from."""

from __future__ import annotations

from typing import Annotated

import typer

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, out, print_json, table
from ullage.settings import Settings


def settings(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False
) -> None:
    """Every setting, its value, and where the value came from."""
    effective = invocation(context).load()
    values = effective.settings.model_dump(mode="json")
    if as_json:
        print_json([{"name": n, "value": v, "origin": effective.origins[n]} for n, v in values.items()])
        return
    shown = table("name", "value", "origin", "what it is")
    for name, value in values.items():
        shown.add_row(name, "" if value is None else str(value), effective.origins[name],
                      Settings.model_fields[name].description or "")
    out().print(shown)


def register(app: typer.Typer) -> None:
    app.command()(settings)
