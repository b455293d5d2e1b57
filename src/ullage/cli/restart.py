"""`ullage restart`: a new process of one service, without a request lost."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, out, print_json


def restart(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="a service of the running stack, as `ullage status` lists them")],
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Replace a service's process: the new one is ready before the old one goes, where the budget holds both."""
    from ullage.clients.stack import StackClient, control_socket

    state_dir = invocation(context).load().settings.state_dir
    done = asyncio.run(StackClient(control_socket(state_dir)).restart(service))
    if as_json:
        print_json(done)
        return
    out().print(f"{done['service']} restarted ({done['how']}) in {done['seconds']:.1f} s", markup=False)
    if done["why"]:
        out().print(f"requests waited meanwhile: {done['why']}", markup=False)


def register(app: typer.Typer) -> None:
    app.command()(restart)
