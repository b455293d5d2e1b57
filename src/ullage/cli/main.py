"""The console script `ullage`: global options, and errors as one line with an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ullage.cli.invocation import Invocation, parse_given
from ullage.cli.lazy import LazyGroup
from ullage.cli.output import print_error
from ullage.errors import UllageError, outcome
from ullage.version import __version__

INTERRUPTED = 130

app = typer.Typer(
    name="ullage", cls=LazyGroup, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="A RAG stack whose models are fitted into a stated number of bytes.",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"ullage {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def everything(
    context: typer.Context,
    config: Annotated[Path | None, typer.Option(help="YAML file of `name: value` lines")] = None,
    given: Annotated[list[str] | None, typer.Option(
        "--set", metavar="NAME=VALUE", help="any setting of `ullage settings`; may be repeated")] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,  # noqa: ARG001
) -> None:
    """A RAG stack whose models are fitted into a stated number of bytes."""
    context.obj = Invocation(config, parse_given(given or []))
    if context.invoked_subcommand is None:
        print(context.get_help())


def main(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Nothing but one line on standard error tells of a failure."""
    try:
        return int(app(list(arguments), prog_name="ullage", standalone_mode=False) or 0)
    except UllageError as error:
        print_error(error.message)
        return outcome(error).exit_code
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        return _foreign(error)


def _foreign(error: Exception) -> int:
    # Typer keeps its usage errors in a private module; they are known by the message they can format.
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        print_error(" ".join(error.format_message().split()).rstrip(".") + "; `ullage --help` lists what there is")
        return int(error.exit_code)
    if os.environ.get("ULLAGE_LOG_LEVEL") == "DEBUG":
        raise error
    print_error(f"{type(error).__name__}: {' '.join(str(error).split())}; this is a bug in ullage: "
                "ULLAGE_LOG_LEVEL=DEBUG shows where")
    return 1


def run() -> None:
    sys.exit(main(sys.argv[1:]))
