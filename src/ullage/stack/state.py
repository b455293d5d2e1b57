"""The run file: what a running stack says of itself, for `status`, `down` and the next `up`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
from pydantic import TypeAdapter, ValidationError

from ullage.errors import SettingsError
from ullage.stack.services import Probe

ServiceState = Literal["waiting", "starting", "ready", "not ready", "restarting", "stopping", "stopped", "failed"]

CLOCK_SLACK_S = 2.0
"""The kernel's start time of a process, read twice, may differ by a clock adjustment."""


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """One service now. `started_unix_s` is the start of its present process; `ledger` predicts bytes part by part."""

    service: str
    host: str
    port: int
    probe: Probe
    profile: str
    ledger: dict[str, int]
    log: str
    state: ServiceState = "waiting"
    reason: str = ""
    pid: int | None = None
    started_unix_s: float | None = None
    restarts: int = 0
    cert: Path | None = None

    @property
    def predicted_bytes(self) -> int:
        return sum(self.ledger.values())


@dataclass(frozen=True, slots=True)
class StackRecord:
    """A supervisor, known by pid and start time, and its services."""

    pid: int
    pid_started_unix_s: float
    budget_bytes: int
    budget_source: str
    services: tuple[ServiceRecord, ...] = field(default=())


_ADAPTER = TypeAdapter(StackRecord)


def run_file(state_dir: Path) -> Path:
    return state_dir / "run" / "stack.json"


def write_record(state_dir: Path, record: StackRecord) -> None:
    """Replace the run file in one step: a reader sees the old one or the new one."""
    target = run_file(state_dir)
    scratch = target.with_suffix(f".{os.getpid()}")
    scratch.write_bytes(_ADAPTER.dump_json(record, indent=2))
    scratch.replace(target)


def read_record(state_dir: Path) -> StackRecord | None:
    """The record of the stack that runs now; None when there is none, or its supervisor is dead."""
    try:
        record = _ADAPTER.validate_json(run_file(state_dir).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise SettingsError(f"{run_file(state_dir)} is not a run file of this version: stop that stack with the "
                            "version that started it, then delete the file") from None
    return record if is_running(record.pid, record.pid_started_unix_s) else None


def clear_leftovers(state_dir: Path) -> str:
    """What a stack that was not stopped left behind, in one line; empty when there is nothing.

    Its services end with it (`child.py`); one that the kernel could not end is killed here, and its private sockets go.
    """
    for lost in run_file(state_dir).parent.glob("*.sock"):
        lost.unlink(missing_ok=True)
    found = how_it_ended(state_dir)
    if not found:
        return ""
    record = _ADAPTER.validate_json(run_file(state_dir).read_bytes())
    killed = [s.service for s in record.services if s.pid and s.started_unix_s and _killed(s.pid, s.started_unix_s)]
    return f"{found}; still running and killed now: {', '.join(killed)}" if killed else found


def how_it_ended(state_dir: Path) -> str:
    """The last stack here, when it was not stopped: its services as they were; empty otherwise."""
    try:
        record = _ADAPTER.validate_json(run_file(state_dir).read_bytes())
    except (FileNotFoundError, ValidationError):
        return ""
    if is_running(record.pid, record.pid_started_unix_s) and record.pid != os.getpid():
        return ""
    then = ", ".join(f"{s.service} {s.state}" + (f" ({s.restarts} restarts)" if s.restarts else "")
                     for s in record.services)
    last = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run_file(state_dir).stat().st_mtime))
    return f"the stack of pid {record.pid} ended without being stopped, after {last}: {then}"


def _killed(pid: int, started_unix_s: float) -> bool:
    if not is_running(pid, started_unix_s):
        return False
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        process.kill()
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(10)
        return True
    return False


def is_running(pid: int, started_unix_s: float) -> bool:
    """Whether `pid` is still the process that started then, and not a later one with the same number."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        same = abs(process.create_time() - started_unix_s) < CLOCK_SLACK_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextlib.contextmanager
def only_stack(state_dir: Path) -> Iterator[None]:
    """Hold `state_dir` for one stack. Raises SettingsError naming the pid when another has it.

    The lock ends with the process that holds it, however that ends.
    """
    lock_file = state_dir / "run" / "stack.lock"
    try:
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_file.open("a+", encoding="ascii")
    except OSError as error:
        raise SettingsError(f"state_dir {state_dir} cannot be written: {error.strerror}; set state_dir") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise SettingsError(f"a stack already runs on {state_dir}, pid {lock.read().strip() or 'unknown'}: "
                                "stop it with `ullage down`, or set another state_dir") from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            run_file(state_dir).unlink(missing_ok=True)
