"""A whole stack on this machine: one lock, free ports, a supervisor, and a run file that follows it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import structlog

from ullage.plan import Plan
from ullage.stack.ports import check_ports
from ullage.stack.services import Spec
from ullage.stack.state import ServiceRecord, StackRecord, only_stack, write_record
from ullage.stack.supervisor import Supervisor, Timing

log = structlog.get_logger("ullage.stack")


async def run_stack(
    specs: Sequence[Spec],
    plan: Plan,
    state_dir: Path,
    stop: asyncio.Event,
    *,
    on_start: Callable[[Supervisor], None] = lambda _: None,
    on_change: Callable[[ServiceRecord], None] = lambda _: None,
    timing: Timing | None = None,
) -> None:
    """Run until `stop` is set. `on_start` gets the supervisor before the first process is started.

    Raises SettingsError, with nothing started, when a port or `state_dir` is taken; later, the error of a service that
    cannot start.
    """
    with only_stack(state_dir):
        check_ports(specs)
        logs = state_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)

        def publish(changed: ServiceRecord) -> None:
            try:
                write_record(state_dir, _record(plan, supervisor))
            except OSError as error:  # a full disk is no reason to stop serving
                log.warning("the run file is out of date", reason=error.strerror)
            on_change(changed)

        supervisor = Supervisor(specs, logs, publish, timing)
        write_record(state_dir, _record(plan, supervisor))
        on_start(supervisor)
        await supervisor.run(stop)


def _record(plan: Plan, supervisor: Supervisor) -> StackRecord:
    own = psutil.Process(os.getpid())
    return StackRecord(own.pid, own.create_time(), plan.budget_bytes, plan.budget_source,
                       tuple(supervisor.records.values()))
