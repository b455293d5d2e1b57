"""`ullage up` and `ullage down`: the whole stack of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.board import Board
from ullage.cli.choices import chosen_services
from ullage.cli.detached import start_detached
from ullage.cli.invocation import invocation
from ullage.cli.output import out
from ullage.cli.plan import show_plan
from ullage.cli.up_ray import as_options, asked_of, refuse_without_ray, up_on_ray
from ullage.errors import Unavailable

if TYPE_CHECKING:
    from ullage.plan import Plan
    from ullage.settings import Effective
    from ullage.stack.services import Spec
    from ullage.stack.supervisor import Supervisor

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DOWN_S = 180.0


def up(
    context: typer.Context,
    memory: Annotated[str | None, typer.Option(help="budget of the whole stack, such as 3GiB")] = None,
    only: Annotated[str | None, typer.Option(help="these services alone, separated by commas")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="return once everything is ready")] = False,
    vision: Annotated[bool | None, typer.Option("--vision", help="with the vision service")] = None,
    ranking_model: Annotated[str | None, typer.Option(help="card name or folder")] = None,
    embedding_model: Annotated[str | None, typer.Option(help="card name or folder")] = None,
    llm_model: Annotated[str | None, typer.Option(help="card name")] = None,
    ray: Annotated[str | None, typer.Option(help="ranking and embedding on Ray: a cluster's address, or local")] = None,
    replicas: Annotated[str | None, typer.Option(help="on Ray: ranking=2,embedding=1..4,rag=1")] = None,
    replica_cpus: Annotated[float | None, typer.Option(min=0.01, help="cores of one replica on Ray; else 1")] = None,
) -> None:
    """Start every service inside one budget and keep it up; Ctrl-C stops all, a second one at once."""
    from ullage.stack.place import elsewhere, place, require_files
    from ullage.stack.services import specs

    if ray is None:
        refuse_without_ray(replicas, replica_cpus)
    on_ray = None if ray is None else asked_of(replicas, replica_cpus)
    asked = invocation(context)
    effective = asked.load(memory=memory, ranking_model=ranking_model, embedding_model=embedding_model,
                           llm_model=llm_model, enable_vision=vision)
    plan = place(effective.settings, chosen_services(only))
    require_files(effective.settings, plan)
    console = out()
    for note in effective.notes:
        console.print(note, markup=False)
    show_plan(console, plan)
    for service, url in elsewhere(effective.settings).items():
        console.print(f"{service} is not started here: the settings say it runs at {url}")
    if detach:
        start_detached(effective, asked.config, only, more=as_options(ray, replicas, replica_cpus))
    elif ray is not None and on_ray is not None:
        up_on_ray(ray, on_ray, plan, effective, asked.config, _keep_up)
    else:
        asyncio.run(_keep_up(specs(plan, effective, asked.config), plan, effective))


async def _keep_up(processes: tuple[Spec, ...], plan: Plan, effective: Effective) -> None:
    from ullage.http.logs import configure_logs
    from ullage.stack.run import run_stack

    configure_logs(effective.settings.log_level, effective.settings.log_format, "stack")
    stop = asyncio.Event()
    board = Board(out())

    def start(supervisor: Supervisor) -> None:
        _stop_on_signals(stop, supervisor)
        board.start(supervisor)

    try:
        await run_stack(processes, plan, effective, stop, on_start=start, on_change=board.changed,
                        on_found=lambda found: out().print(found, markup=False, soft_wrap=True))
    finally:
        board.close()


def _stop_on_signals(stop: asyncio.Event, supervisor: Supervisor) -> None:
    """The first signal stops what runs, the second does not wait for it."""

    def stop_or_hurry() -> None:
        if stop.is_set():
            supervisor.hurry()
        stop.set()

    # Under nohup a lost terminal is no reason to stop.
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    for number in set(STOP_SIGNALS) - ignored:
        asyncio.get_running_loop().add_signal_handler(number, stop_or_hurry)


def down(context: typer.Context) -> None:
    """Stop the stack that runs on this state_dir, and wait until it is gone."""
    from ullage.stack.state import is_running, read_record

    state_dir = invocation(context).load().settings.state_dir
    record = read_record(state_dir)
    if record is None:
        out().print(f"no stack runs on {state_dir}")
        return
    _tell_to_stop(state_dir, record.pid)
    deadline = time.monotonic() + DOWN_S
    while is_running(record.pid, record.pid_started_unix_s):
        if time.monotonic() > deadline:
            raise Unavailable(f"the stack, pid {record.pid}, is still stopping after {DOWN_S:g} s: {_left(state_dir)}")
        time.sleep(0.1)
    out().print(f"stopped the stack of pid {record.pid}")


def _tell_to_stop(state_dir: Path, pid: int) -> None:
    """By its control socket; by a signal when it does not answer there."""
    from ullage.clients.stack import StackClient, control_socket

    try:
        asyncio.run(StackClient(control_socket(state_dir)).stop())
    except Unavailable:
        os.kill(pid, signal.SIGTERM)


def _left(state_dir: Path) -> str:
    from ullage.stack.state import read_record

    record = read_record(state_dir)
    names = [s.service for s in record.services if s.state != "stopped"] if record else []
    return f"{', '.join(names) or 'nothing'} left"


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
