"""`ullage settings`: every value in force and where it came from."""

from __future__ import annotations

import difflib
from typing import Annotated

import typer

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, out, print_json, table
from ullage.errors import SettingsError
from ullage.settings import Settings
from ullage.settings.names import NAMES


def settings(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="explain one name, ours or a foreign one")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Every setting, its value, where the value came from, and the foreign name it came under."""
    if name is not None:
        out().print(_explain(name.strip()), markup=False)
        return
    effective = invocation(context).load()
    values = effective.settings.model_dump(mode="json")
    if as_json:
        print_json([{"name": n, "value": v, "origin": effective.origins[n], "foreign": effective.foreign(n)}
                    for n, v in values.items()])
        return
    shown = table("name", "value", "origin", "foreign name", "what it is")
    for field, value in values.items():
        shown.add_row(field, "" if value is None else str(value), effective.origins[field], effective.foreign(field),
                      Settings.model_fields[field].description or "")
    out().print(shown)
    for note in effective.notes:
        out().print(note, markup=False)


def _explain(name: str) -> str:
    if name in NAMES:
        return f"{name} ({NAMES[name].verdict}): {NAMES[name].effect}"
    field = name.removeprefix("ULLAGE_").lower()
    if field in Settings.model_fields:
        found = Settings.model_fields[field]
        return f"{field} (ULLAGE_{field.upper()}): {found.description or 'no description'}; default {found.default}"
    near = difflib.get_close_matches(name, [*NAMES, *Settings.model_fields], n=1, cutoff=0.5)
    raise SettingsError(f"no setting is called {name}" + (f": did you mean {near[0]}?" if near else ""))


def register(app: typer.Typer) -> None:
    app.command()(settings)
