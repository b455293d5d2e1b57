"""A whole stack on this machine: one lock, free ports, a supervisor, and a run file that follows it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import psutil
import structlog

from ullage.errors import SettingsError
from ullage.plan import Plan
from ullage.settings import Effective
from ullage.stack.control import Control
from ullage.stack.logs import bound_log
from ullage.stack.notify import notify
from ullage.stack.pace import Timing
from ullage.stack.ports import check_ports
from ullage.stack.report import Report
from ullage.stack.services import Spec
from ullage.stack.state import ServiceRecord, StackRecord, clear_leftovers, only_stack, write_record
from ullage.stack.supervisor import Supervisor

log = structlog.get_logger("ullage.stack")
LOOK_AT_LOGS_S = 60.0


async def run_stack(
    specs: Sequence[Spec],
    plan: Plan,
    effective: Effective,
    stop: asyncio.Event,
    *,
    on_start: Callable[[Supervisor], None] = lambda _: None,
    on_change: Callable[[ServiceRecord], None] = lambda _: None,
    on_found: Callable[[str], None] = lambda _: None,
    timing: Timing | None = None,
) -> None:
    """Run until `stop` is set. `on_start` gets the supervisor before the first process is started; `on_found` is told
    what a stack left behind that was not stopped.

    Raises SettingsError, with nothing started, when a port or `state_dir` is taken; later, the error of a service that
    cannot start.
    """
    state_dir = effective.settings.state_dir
    with only_stack(state_dir):
        if found := clear_leftovers(state_dir):
            on_found(found)
        check_ports(specs)
        logs = state_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        begun = time.time()

        def publish(changed: ServiceRecord) -> None:
            try:
                write_record(state_dir, _record(plan, supervisor))
            except OSError as error:  # a full disk is no reason to stop serving
                log.warning("the run file is out of date", reason=error.strerror)
            if all(record.state == "ready" for record in supervisor.records.values()):
                notify("READY=1")
            on_change(changed)

        supervisor = Supervisor(specs, logs, publish, timing, state_dir / "run")
        write_record(state_dir, _record(plan, supervisor))
        on_start(supervisor)
        control = Control(supervisor, Report(plan, effective, begun), stop)
        own_log = asyncio.create_task(_bound_own_log(logs / "up.log"))
        try:
            async with _opened(control, state_dir):
                await supervisor.run(stop)
        finally:
            notify("STOPPING=1")
            own_log.cancel()


@contextlib.asynccontextmanager
async def _opened(control: Control, state_dir: Path) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as opened:
        try:
            await opened.enter_async_context(control.open(state_dir))
        except OSError as error:
            raise SettingsError(f"the control socket in state_dir {state_dir} cannot be made: {error.strerror}; set "
                                "state_dir to a folder on a local disk") from None
        yield


async def _bound_own_log(path: Path) -> None:
    while True:
        bound_log(path)
        await asyncio.sleep(LOOK_AT_LOGS_S)


def _record(plan: Plan, supervisor: Supervisor) -> StackRecord:
    own = psutil.Process(os.getpid())
    return StackRecord(own.pid, own.create_time(), plan.budget_bytes, plan.budget_source,
                       tuple(supervisor.records.values()))
