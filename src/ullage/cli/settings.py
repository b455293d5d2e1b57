"""`ullage settings`: every value in force and where it came from."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from rich.markup import escape

from ullage.cli.choices import chosen_services
from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, out, print_json, table
from ullage.errors import SettingsError
from ullage.settings import Effective, Service, Settings
from ullage.settings.environment import unknown
from ullage.settings.foreign import NIMS, read, redacted, shown, unquoted
from ullage.settings.names import NAMES, rows

SERVICE_HELP = "as `ullage serve SERVICE` would see them; names that speak to one service need it"


def settings(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="explain one name, ours or a foreign one")] = None,
    service: Annotated[str | None, typer.Option(help=SERVICE_HELP)] = None,
    foreign: Annotated[bool, typer.Option("--foreign", help="every name of the replaced stack instead")] = False,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Every setting, its value, where the value came from, and the foreign name it came under."""
    chosen = _service(service)
    if name is not None:
        said = _explain(name.strip().upper(), chosen)
        print_json(said) if as_json else out().print("\n".join(said.values()), markup=False)
    elif foreign:
        _show_foreign(as_json)
    else:
        effective = invocation(context).load(service=chosen)
        _show_json(effective) if as_json else _show(effective)


def _service(text: str | None) -> Service | None:
    if text is None:
        return None
    chosen = chosen_services(text) or ()
    if len(chosen) != 1:
        raise SettingsError(f"--service {text} names {len(chosen)} services: name one")
    return chosen[0]


def _value(effective: Effective, name: str) -> Any:
    """A value as it may be printed: no secret."""
    value = effective.settings.model_dump(mode="json")[name]
    return redacted(name, value) if isinstance(value, str) and value else value


def _show(effective: Effective) -> None:
    made = table("name", "value", "origin", "foreign name", "what it is")
    for name, info in Settings.model_fields.items():
        value = _value(effective, name)
        made.add_row(name, escape("" if value is None else str(value)), escape(effective.origins[name]),
                     effective.foreign.get(name, ""), info.description or "")
    out().print(made)
    for note in effective.notes:
        out().print(note, markup=False)


def _show_json(effective: Effective) -> None:
    print_json({
        "settings": [
            {"name": name, "value": _value(effective, name), "origin": effective.origins[name],
             "foreign": effective.foreign.get(name), "description": info.description}
            for name, info in Settings.model_fields.items()
        ],
        "notes": list(effective.notes),
    })


def _show_foreign(as_json: bool) -> None:
    if as_json:
        print_json([dict(zip(("name", "verdict", "effect"), row, strict=True)) for row in rows()])
        return
    made = table("name", "verdict", "effect")
    for row in rows():
        made.add_row(*row)
    out().print(made)


def _explain(name: str, service: Service | None) -> dict[str, str]:
    """What a name means, and what becomes of the value that it has in the environment. Raises SettingsError."""
    if name in NAMES:
        known = NAMES[name]
        said = {"meaning": f"{name} ({known.verdict}): {known.effect}"}
        if value := unquoted(os.environ.get(name, "")):
            reading = read(known, value, service)
            pairs = ", ".join(f"{setting}={shown(setting, to)}" for setting, to in reading.pairs)
            said["now"] = reading.fault or reading.note or f"{reading.said} sets {pairs}"
        return said
    return _explain_own(name)


def _explain_own(name: str) -> dict[str, str]:
    field = name.removeprefix("ULLAGE_").lower()
    if field not in Settings.model_fields:
        raise SettingsError(unknown(name, "asked for", [*NAMES, *(known.upper() for known in Settings.model_fields)]))
    info = Settings.model_fields[field]
    default = info.get_default(call_default_factory=True)
    meaning = f"{field} (ULLAGE_{field.upper()}): {info.description}; default {'none' if default is None else default}"
    under = [name for name, known in sorted(NAMES.items()) if any(_means(target, field) for target in known.sets)]
    return {"meaning": meaning} | ({"under": f"also set by {', '.join(under)}"} if under else {})


def _means(target: str, field: str) -> bool:
    return field in {target.format(service=service) for service in NIMS}


def register(app: typer.Typer) -> None:
    app.command()(settings)
