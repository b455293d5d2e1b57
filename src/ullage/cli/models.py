"""`ullage models`: the known models, what each needs, and fetching, checking and deleting their files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, err, mib, out, print_json, table
from ullage.errors import ModelError, ModelNotFound, SettingsError

if TYPE_CHECKING:
    from ullage.models.card import Card, Role

ROLES: tuple[Role, ...] = ("ranking", "embedding", "llm", "vision")

app = typer.Typer(help="The models that are known, what they need, and their files.", rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
Name = Annotated[str, typer.Argument(help="a name of `ullage models`, or a path")]


@app.callback(invoke_without_command=True)
def models(context: typer.Context, as_json: AsJson = False) -> None:
    """Every known model, and whether its files are here."""
    if context.invoked_subcommand is None:
        show_all(context, as_json)


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Every known model, and whether its files are here."""
    show_all(context, as_json)


@app.command()
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """A model's whole card, and the numbers its memory is computed from."""
    cache_dir = invocation(context).load().settings.cache_dir
    rows = [_whole(card, cache_dir) for card in _named(name)]
    if as_json:
        print_json(rows if len(rows) > 1 else rows[0])
        return
    for row in rows:
        shown = table("field", "value")
        for field, value in row.items():
            shown.add_row(field, _as_text(value))
        out().print(shown)


@app.command()
def pull(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="a name of `ullage models`, or NAME@REVISION")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every model that comes in packages")] = False,
) -> None:
    """Fetch and verify a model's files."""
    from ullage.models.card import catalog

    if (name is None) != everything:
        raise SettingsError("name one model, or give --all: `ullage models` lists them")
    chosen = list(catalog()) if name is None else _named(name)
    fetch(chosen, invocation(context).load().settings.cache_dir)


@app.command()
def verify(
    context: typer.Context, name: Annotated[str | None, typer.Argument(help="one model; else all that are here")] = None
) -> None:
    """Compare every byte of the files that are here with the recorded hashes. Fails at the first that differs."""
    from ullage.models.card import known_cards
    from ullage.models.files import locate, missing

    cache_dir = invocation(context).load().settings.cache_dir
    chosen = _named(name) if name else [card for card in known_cards() if not missing(card, cache_dir)]
    for card in chosen:
        locate(card, cache_dir)
        out().print(f"{card.name}: every byte as recorded")


@app.command()
def remove(context: typer.Context, name: Name) -> None:
    """Delete a model's fetched files; what another model uses too stays."""
    from ullage.models.card import known_cards
    from ullage.models.files import remove as remove_files

    cache_dir = invocation(context).load().settings.cache_dir
    chosen = _named(name)
    kept = [card for card in known_cards() if card.name not in {other.name for other in chosen}]
    for card in chosen:
        out().print(f"{card.name}: {mib(remove_files(card, cache_dir, kept))} deleted")


def fetch(chosen: list[Card], cache_dir: Path) -> None:
    """Pull with a progress bar a model on standard error; one line each when it is no terminal."""
    from ullage.models.files import pull as pull_files

    console = err()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        for card in chosen:
            bar = bars.add_task(f"{card.name}: fetching", total=None)
            pull_files(card, cache_dir, _report(bars, bar, card.name))
            bars.update(bar, description=f"{card.name}: verified", total=_size(card), completed=_size(card))
            if not console.is_terminal:
                console.print(f"{card.name}: {mib(_size(card))} verified")


def missing(chosen: list[Card], cache_dir: Path) -> list[Card]:
    return [card for card in chosen if state(card, cache_dir) != "here"]


def state(card: Card, cache_dir: Path) -> str:
    """`here` when every file is there and has the card's bytes; else why not.

    Of a hub's checkpoint, which may be large, sizes are compared: `verify` reads its bytes.
    """
    from ullage.models.files import locate
    from ullage.models.files import missing as is_missing

    if card.not_servable:
        return "cannot be served"
    try:
        if is_missing(card, cache_dir):
            return "missing" if card.files or card.hub else "on no public hub"
        if card.files:
            locate(card, cache_dir)
    except ModelNotFound:
        return "missing"
    except ModelError as error:
        return error.message
    return "here"


def show_all(context: typer.Context, as_json: bool) -> None:
    from ullage.models.card import known_cards

    cache_dir = invocation(context).load().settings.cache_dir
    if as_json:
        print_json([_as_json(card, state(card, cache_dir)) for card in known_cards()])
        return
    shown = table("name", "role", "family", "precision", "tokens", "size", "licence", "state", right=("tokens", "size"))
    for card in known_cards():
        found = state(card, cache_dir)
        shown.add_row(card.name, card.role, card.family, card.precision, str(card.max_sequence), mib(_size(card)),
                      card.licence, f"{found}: {_reason(card)}" if card.not_servable else found)
    console = out()
    if not console.is_terminal:
        console.width = 300  # a line a card, also with the reason why one is not served
    console.print(shown)


def _named(name: str) -> list[Card]:
    """The cards of a name in every role it has. Raises ModelError: why the first role that knows it refuses it."""
    from ullage.models.card import known_cards
    from ullage.models.resolve import resolve

    found: list[Card] = []
    faults: dict[Role, ModelError] = {}
    for role in ROLES:
        try:
            found.append(resolve(name, role))
        except ModelError as error:
            faults[role] = error
    if found:
        return found
    if Path(name).expanduser().exists():
        raise next((fault for fault in faults.values() if not isinstance(fault, ModelNotFound)), faults["ranking"])
    plain = name.partition("@")[0]
    for card in known_cards():
        if "@" in name and plain in card.names:
            raise faults[card.role]
    raise ModelNotFound(f"no model is called {name!r}: known are {', '.join(card.name for card in known_cards())}")


def _as_json(card: Card, found: str) -> dict[str, Any]:
    return {
        "name": card.name, "aliases": list(card.aliases), "role": card.role, "kind": card.kind, "family": card.family,
        "precision": card.precision, "max_sequence": card.max_sequence, "licence": card.licence,
        "description": _line(card.description), "revision": card.revision,
        "file_bytes": _size(card), "files": found, "servable": not card.not_servable,
        "not_servable": _line(card.not_servable),
    }


def _whole(card: Card, cache_dir: Path) -> dict[str, Any]:
    """Everything a card says, and what follows from it."""
    counted = card.parameters
    derived = {
        "state": state(card, cache_dir), "revision": card.revision, "weights_bytes": card.weights_bytes,
        "parameters": counted.total, "parameters_of_tables": counted.tables, "parameters_of_layers": counted.layers,
        "parameters_of_head": counted.head,
    }
    return card.model_dump(mode="json") | derived


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner is not None)
    if isinstance(value, list):
        return "; ".join(_as_text(inner) for inner in value)
    if isinstance(value, str):
        return _line(repr(value)[1:-1])
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _reason(card: Card) -> str:
    """The first clause of why a card cannot be served; `show` has all of it."""
    return re.split("[:;]", _line(card.not_servable), maxsplit=1)[0]


def _line(text: str) -> str:
    return " ".join(text.split())


def _size(card: Card) -> int:
    """Bytes of the files; of a card without a list of them, bytes of the weights."""
    return sum(file.size for file in card.files) or card.weights_bytes


def _report(bars: Progress, bar: TaskID, name: str) -> Any:
    def report(file: str, done: int, total: int) -> None:
        bars.update(bar, description=f"{name}: {file}", completed=done, total=total)

    return report
