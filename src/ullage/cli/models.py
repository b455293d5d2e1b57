"""`ullage models`: the bundled cards, and fetching their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskID, TextColumn

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, err, mib, out, print_json, table
from ullage.errors import ModelError, ModelNotFound, SettingsError

if TYPE_CHECKING:
    from ullage.models.card import Card

app = typer.Typer(help="The models that are known, and fetching their files.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False
) -> None:
    """Every known model and whether its files are here."""
    if context.invoked_subcommand is None:
        show(context, as_json)


@app.command("list")
def list_(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False) -> None:
    """Every known model and whether its files are here."""
    show(context, as_json)


@app.command()
def pull(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="a name of `ullage models`")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every model of the catalogue")] = False,
) -> None:
    """Fetch and verify a model's files."""
    from ullage.models.card import catalog

    if (name is None) != everything:
        raise SettingsError("name one model, or give --all: `ullage models` lists them")
    chosen = [card for card in catalog() if everything or name in card.names]
    if not chosen:
        raise ModelNotFound(f"no model is called {name!r}: known are {', '.join(c.name for c in catalog())}")
    fetch(chosen, invocation(context).load().settings.cache_dir)


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
    """`here` when every file is there and has the card's bytes; else why not."""
    from ullage.models.files import locate

    try:
        locate(card, cache_dir)
    except ModelNotFound:
        return "missing"
    except ModelError as error:
        return error.message
    return "here"


def show(context: typer.Context, as_json: bool) -> None:
    from ullage.models.card import catalog

    cache_dir = invocation(context).load().settings.cache_dir
    if as_json:
        print_json([_as_json(card, state(card, cache_dir)) for card in catalog()])
        return
    shown = table("name", "role", "kind", "precision", "tokens", "size", "licence", "files", right=("tokens", "size"))
    for card in catalog():
        shown.add_row(card.name, card.role, card.kind, card.precision, str(card.max_sequence), mib(_size(card)),
                      card.licence, state(card, cache_dir))
    out().print(shown)


def _as_json(card: Card, found: str) -> dict[str, Any]:
    return {
        "name": card.name, "aliases": list(card.aliases), "role": card.role, "kind": card.kind,
        "precision": card.precision, "max_sequence": card.max_sequence, "licence": card.licence,
        "description": " ".join(card.description.split()), "revision": card.revision,
        "file_bytes": _size(card), "files": found,
    }


def _size(card: Card) -> int:
    return sum(file.size for file in card.files)


def _report(bars: Progress, bar: TaskID, name: str) -> Any:
    def report(file: str, done: int, total: int) -> None:
        bars.update(bar, description=f"{name}: {file}", completed=done, total=total)

    return report
