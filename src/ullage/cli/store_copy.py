"""`ullage store`: carry collections from one vector database to another."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.collection import progress_bar
from ullage.cli.output import JSON_HELP, out, print_json
from ullage.errors import InvalidRequest

if TYPE_CHECKING:
    from ullage.store import VectorStore
    from ullage.store.copy import Copied

app = typer.Typer(help="Vector databases: copy one into another.", rich_markup_mode=None, no_args_is_help=True)


@app.callback()
def store() -> None:
    """Vector databases: copy one into another."""


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Milvus URI, or the path of a local .db")],
    target: Annotated[str, typer.Argument(metavar="TO", help="the same of the database to copy into")],
    collection: Annotated[list[str] | None, typer.Option(help="this one alone; may be repeated; else all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Copy collections with their vectors, then compare both sides by count and hash. Run it again to go on."""
    from ullage.store import VectorStore

    if source.rstrip("/") == target.rstrip("/"):
        raise InvalidRequest(f"FROM and TO are both {source}: name two databases")
    with closing(VectorStore(source)) as old, closing(VectorStore(target)) as new:
        names = collection or [record.name for record in old.collections()]
        if not names:
            raise InvalidRequest(f"{source} holds no collection of ours: nothing to copy")
        copied = [_copy(old, new, name, tell=not as_json) for name in names]
    if as_json:
        print_json([asdict(one) for one in copied])


def _copy(old: VectorStore, new: VectorStore, name: str, *, tell: bool) -> Copied:
    from ullage.store.copy import copy_collection

    with progress_bar(name) as hear:
        copied = copy_collection(old, new, name, hear)
    if tell:
        there = f" ({copied.skipped:,} were there)" if copied.skipped else ""
        out().print(f"{name}: {copied.passages:,} passages of {copied.documents:,} documents{there}, equal on both "
                    f"sides, digest {copied.digest[:16]}", markup=False)
    return copied
