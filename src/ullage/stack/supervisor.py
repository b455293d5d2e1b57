"""Start processes in the order they need each other, watch them, restart the dead, stop them all."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ullage.errors import OUTCOMES, DoesNotFit, EngineFailed, ModelError, SettingsError, UllageError
from ullage.stack import child
from ullage.stack.logs import bound_log, last_words
from ullage.stack.probe import probe, prove
from ullage.stack.services import Spec
from ullage.stack.state import ServiceRecord

OnChange = Callable[[ServiceRecord], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. A dead process is started again after `first_delay_s`, doubled at each death up to `longest_delay_s`;
    one that was ready for `healthy_s` starts over. One told to stop is killed `kill_after_s` later than it has."""

    first_delay_s: float = 1.0
    longest_delay_s: float = 30.0
    healthy_s: float = 60.0
    kill_after_s: float = 5.0
    starting_probe_s: float = 0.25
    ready_probe_s: float = 2.0
    first_attempts: int = 3
    """A service that dies this often before it was ever ready has a fault that starting again does not mend."""


class Supervisor:
    """One process per spec. `records` is the state of each service, `on_change` hears of every change."""

    def __init__(
        self, specs: Sequence[Spec], logs: Path, on_change: OnChange, timing: Timing | None = None
    ) -> None:
        self._specs = tuple(specs)
        self._logs = logs
        self._on_change = on_change
        self._timing = timing or Timing()
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._ready = {spec.service: asyncio.Event() for spec in specs}
        self._hurry = asyncio.Event()
        self.records = {spec.service: self._record(spec) for spec in specs}

    async def run(self, stop: asyncio.Event) -> None:
        """Keep everything up until `stop` is set, then stop everything.

        Raises the error of a service that cannot start at all (settings, memory, model), after the rest has stopped.
        """
        keepers = [asyncio.create_task(self._keep(spec), name=spec.service) for spec in self._specs]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopping, *keepers], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stopping, *keepers):
                task.cancel()
            await asyncio.gather(stopping, *keepers, return_exceptions=True)
            await self._stop_all()

    def hurry(self) -> None:
        """Do not wait for anybody: kill what is still running."""
        self._hurry.set()

    async def _keep(self, spec: Spec) -> None:
        """Never returns. Raises when the service cannot start at all."""
        await self._wait_for_needs(spec)
        delay_s = self._timing.first_delay_s
        for attempt in itertools.count(1):
            try:
                process = await self._spawn(spec)
            except OSError as error:  # no memory or no process left for it; the rest of the stack goes on
                code, ready_s, said = CANNOT_EXECUTE, 0.0, f"cannot be started: {error.strerror}"
            else:
                code, ready_s = await self._watch(spec, process)
                said = last_words(self._log(spec.service))
            never_ready = not self._ready[spec.service].is_set()
            if never_ready and (code in HOPELESS or attempt >= self._timing.first_attempts):
                self._change(spec.service, state="failed", reason=said, pid=None)
                raise _hopeless(spec, code, said)
            if ready_s >= self._timing.healthy_s:
                delay_s = self._timing.first_delay_s
            self._change(spec.service, state="restarting", pid=None, started_unix_s=None,
                         restarts=self.records[spec.service].restarts + 1,
                         reason=f"{exit_text(code)}{f' ({said})' if code > 0 else ''}; again in {delay_s:g} s")
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, self._timing.longest_delay_s)

    async def _wait_for_needs(self, spec: Spec) -> None:
        for need in spec.needs:
            if not self._ready[need].is_set():
                self._change(spec.service, state="waiting", reason=f"for {need} to be ready")
                await self._ready[need].wait()

    async def _spawn(self, spec: Spec) -> asyncio.subprocess.Process:
        launcher = (sys.executable, "-I", "-S", child.__file__, str(os.getpid()))
        with self._log(spec.service).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *launcher, *spec.command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **spec.environment}, start_new_session=True,
            )
        self._processes[spec.service] = process
        self._change(spec.service, state="starting", reason="", pid=process.pid, started_unix_s=time.time())
        return process

    async def _watch(self, spec: Spec, process: asyncio.subprocess.Process) -> tuple[int, float]:
        """Probe until the process ends; its exit code, and for how long it had been ready without a break."""
        ended = asyncio.create_task(process.wait())
        ready_since: float | None = None
        unready = "starting"
        proven = False
        try:
            while not ended.done():
                found = await probe(spec.probe, spec.host, spec.port)
                if found.ready and not proven:
                    found = await prove(spec.probe, spec.host, spec.port)
                    proven = found.ready
                if ended.done():
                    break
                if found.ready:
                    ready_since = ready_since or time.monotonic()
                    unready = "not ready"
                    self._change(spec.service, state="ready", reason="")
                    self._ready[spec.service].set()
                else:
                    ready_since = None
                    self._change(spec.service, state=unready, reason=found.reason)
                bound_log(self._log(spec.service))
                pause_s = self._timing.ready_probe_s if found.ready else self._timing.starting_probe_s
                await asyncio.wait({ended}, timeout=pause_s)
            return ended.result(), time.monotonic() - ready_since if ready_since else 0.0
        finally:
            ended.cancel()

    async def _stop_all(self) -> None:
        """Those who need others first, so that their last requests are still answered."""
        left = [spec for spec in self._specs if spec.service in self._processes]
        while left:
            needed = {need for spec in left for need in spec.needs}
            wave = [spec for spec in left if spec.service not in needed] or left
            await asyncio.gather(*(self._stop(spec) for spec in wave))
            left = [spec for spec in left if spec not in wave]

    async def _stop(self, spec: Spec) -> None:
        process = self._processes[spec.service]
        if process.returncode is None:
            self._change(spec.service, state="stopping", reason="finishing what was accepted")
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(spec.stop_signal)
            await self._wait_or_kill(process, spec.drain_s + self._timing.kill_after_s)
        if self.records[spec.service].state != "failed":
            self._change(spec.service, state="stopped", reason=exit_text(process.returncode or 0), pid=None)

    async def _wait_or_kill(self, process: asyncio.subprocess.Process, seconds: float) -> None:
        ended = asyncio.create_task(process.wait())
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({ended, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await ended

    def _change(self, service: str, **changes: Any) -> None:
        before = self.records[service]
        after = replace(before, **changes)
        if after != before:
            self.records[service] = after
            self._on_change(after)

    def _record(self, spec: Spec) -> ServiceRecord:
        return ServiceRecord(spec.service, spec.host, spec.port, spec.probe, spec.profile, dict(spec.ledger),
                             log=str(self._log(spec.service)))

    def _log(self, service: str) -> Path:
        return self._logs / f"{service}.log"


CANNOT_EXECUTE = 126
"""What a shell answers for a command that it cannot execute."""

HOPELESS = {OUTCOMES[cls].exit_code for cls in (SettingsError, DoesNotFit, ModelError)}
"""Exit codes after which the same command would fail the same way."""


def _hopeless(spec: Spec, code: int, said: str) -> UllageError:
    message = f"{spec.service} cannot start: {said}"
    if code == OUTCOMES[DoesNotFit].exit_code:
        planned_bytes = sum(spec.ledger.values())
        return DoesNotFit(message, needed_bytes=planned_bytes, budget_bytes=planned_bytes)
    named = {OUTCOMES[cls].exit_code: cls for cls in (SettingsError, ModelError)}
    return named.get(code, EngineFailed)(message)


def exit_text(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
