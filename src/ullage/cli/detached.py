"""Start `ullage up` as a process of its own and wait until everything it started is ready."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ullage.cli.output import out, print_error
from ullage.errors import SettingsError, Unavailable
from ullage.settings import Effective

if TYPE_CHECKING:
    from ullage.stack.state import ServiceRecord

READY_S = 300.0
POLL_S = 0.1

Hear = Callable[["ServiceRecord"], None]
"""Called with every service at each look."""


def start_detached(effective: Effective, config: Path | None, only: str | None, *, more: Sequence[str] = ()) -> None:
    """Returns when all is ready; `more` are further options of `up`.

    Exits as the supervisor does when it gives up; raises Unavailable after READY_S.
    """
    from ullage.stack.state import how_it_ended

    if found := how_it_ended(effective.settings.state_dir):
        out().print(found, markup=False, soft_wrap=True)
    process, log = _spawn(effective, config, only, tied=False, more=more)
    _wait_ready(process, log, effective.settings.state_dir)
    out().print(f"everything is ready; supervisor pid {process.pid}, log {log}")


@contextmanager
def tied_stack(effective: Effective, config: Path | None, hear: Hear) -> Iterator[None]:
    """A stack that is ready inside the block, stopped after it, and dies with this process."""
    process, log = _spawn(effective, config, None, tied=True)
    try:
        _wait_ready(process, log, effective.settings.state_dir, hear)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _spawn(
    effective: Effective, config: Path | None, only: str | None, *, tied: bool, more: Sequence[str] = ()
) -> tuple[subprocess.Popen[bytes], Path]:
    """The supervisor's process and the file it writes to."""
    from ullage.stack import child
    from ullage.stack.logs import bound_log
    from ullage.stack.services import flags_as_environment
    from ullage.stack.state import read_record

    state_dir = effective.settings.state_dir
    if (running := read_record(state_dir)) is not None:
        raise SettingsError(f"a stack already runs on {state_dir}, pid {running.pid}: stop it with `ullage down`, "
                            "or set another state_dir")
    log = state_dir / "logs" / "up.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    bound_log(log)
    launcher = (sys.executable, "-I", "-S", child.__file__, str(os.getpid()), "-") if tied else ()
    command = [*launcher, sys.executable, "-m", "ullage", "up", *(["--only", only] if only else []), *more]
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
            env={**os.environ, **flags_as_environment(effective, config)},
        )
    return process, log


def _wait_ready(
    process: subprocess.Popen[bytes], log: Path, state_dir: Path, hear: Hear = lambda _: None
) -> None:
    from ullage.stack.logs import last_words
    from ullage.stack.state import read_record

    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        record = read_record(state_dir)
        if record is not None and record.pid == process.pid:
            for service in record.services:
                hear(service)
            if all(service.state == "ready" for service in record.services):
                return
        if process.poll() is not None:
            print_error(last_words(log))
            raise typer.Exit(process.returncode or 1)
        time.sleep(POLL_S)
    raise Unavailable(f"not everything is ready after {READY_S:g} s, it goes on starting: `ullage status` shows what "
                      "is missing")
