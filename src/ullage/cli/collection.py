"""`ullage collection`: list, delete, and carry collections as files from one database to another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, err, out, print_json, table
from ullage.cli.task import ingest_server
from ullage.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from ullage.store import VectorStore

app = typer.Typer(help="Collections: list, delete, export, import.", rich_markup_mode=None, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
Name = Annotated[str, typer.Argument(help="a name of `ullage collection list`")]


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Every collection: how many passages, and what embedded them."""
    with _store(context) as store:
        records = store.collections()
    if as_json:
        print_json([_plain(record) for record in records])
        return
    shown = table("collection", "passages", "dimensions", "embedder", right=("passages", "dimensions"))
    for record in records:
        shown.add_row(record.name, f"{record.chunks:,}", str(record.dimension), record.embedder)
    out().print(shown)


@app.command()
def delete(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Delete a collection with all its documents; what waits to go into it is cancelled."""
    settings = invocation(context).load().settings
    with ingest_server(settings) as server:
        body = server.send("DELETE", "/v1/collections", [name])
    if body["failed"]:
        raise NotFound(body["failed"][0]["error_message"])
    print_json(body) if as_json else out().print(f"collection {name} is deleted", markup=False)


@app.command()
def export(
    context: typer.Context,
    name: Name,
    file: Annotated[Path, typer.Argument(help="the file to write")],
    replace: Annotated[bool, typer.Option("--replace", help="write over a file that is there")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a collection with its vectors to one file."""
    from ullage.store import export_collection

    if file.exists() and not replace:
        raise InvalidRequest(f"{file} is there already: give another name, or --replace")
    if not file.absolute().parent.is_dir():
        raise InvalidRequest(f"{file.parent} is no folder: make it first")
    with _store(context) as store, progress_bar("export") as hear:
        written = export_collection(store, name, file, hear)
    size = file.stat().st_size
    if as_json:
        print_json({"collection": name, "passages": written, "bytes": size, "file": str(file)})
    else:
        out().print(f"{file}: {written:,} passages of {name}, {size:,} bytes", markup=False)


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="a file of `ullage collection export`")],
    name: Annotated[str | None, typer.Option("--as", help="another name for the collection")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a new collection from a file. A ranking or embedding model is not needed."""
    from ullage.store import import_collection

    with _store(context) as store, progress_bar("import") as hear:
        record = import_collection(store, file, name, hear)
    if as_json:
        print_json(_plain(record))
    else:
        out().print(f"collection {record.name}: {record.chunks:,} passages, embedded with {record.embedder}",
                    markup=False)


@contextmanager
def _store(context: typer.Context) -> Iterator[VectorStore]:
    """The database of the running stack, or the one that vectors_uri names."""
    from ullage.store import VectorStore

    store = VectorStore(invocation(context).load().settings.url("vectors"))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    console = err()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(what, total=None)

        def hear(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        yield hear


def _plain(record: Any) -> dict[str, Any]:
    return {"name": record.name, "passages": record.chunks, "dimension": record.dimension,
            "embedder": record.embedder, "lexical": record.lexical, "info": record.info,
            "metadata_schema": [field.model_dump() for field in record.schema]}
