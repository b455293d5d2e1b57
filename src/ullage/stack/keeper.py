"""One service: its process, started again when it dies, replaced when somebody asks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ullage.errors import NotReady, Unavailable
from ullage.stack.death import CANNOT_EXECUTE, HOPELESS, Death, exit_text, hopeless, kernel_kills
from ullage.stack.doorstep import Doorstep
from ullage.stack.logs import bound_log, last_words
from ullage.stack.pace import Pace, Timing
from ullage.stack.process import Process, farewell, spawn
from ullage.stack.services import Spec

POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Restarted:
    """`how` is `two at once`, `in turn` or `started`; `why` says why two could not be at once."""

    service: str
    how: str
    why: str
    seconds: float


class Keeper:
    """`change` is told what is new of the record; `ready` is set once the service was ever ready.

    `sockets` is the folder of what only the supervisor asks its processes by.
    """

    def __init__(self, spec: Spec, doorstep: Doorstep, log: Path, sockets: Path, timing: Timing,
                 change: Callable[..., Any], hurry: asyncio.Event) -> None:
        self.spec = spec
        self.ready = asyncio.Event()
        self._doorstep = doorstep
        self._log = log
        self._sockets = sockets
        self._timing = timing
        self._tell = change
        self._hurry = hurry
        self._process: Process | None = None
        self._replaced = asyncio.Event()
        self._coming: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._in_turn = False
        self._wake = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        self._numbers = itertools.count(1)
        self._reason = ""
        self._state = "waiting"

    async def keep(self, needs: Sequence[Keeper]) -> None:
        """Never returns. Raises the error of a service that cannot start at all."""
        async with self._doorstep.answering(lambda: self._reason or "it is being started"):
            await self._wait_for(needs)
        pace = Pace(self._timing)
        for attempt in itertools.count(1):
            death = await self._life()
            if self._in_turn:
                continue
            if not self.ready.is_set() and (death.code in HOPELESS or attempt >= self._timing.first_attempts):
                self._change(state="failed", reason=death.said, pid=None)
                raise hopeless(self.spec.service, death, sum(self.spec.ledger.values()))
            pace.died(death.ready_s)
            await self._pause(pace, death)

    async def restart(self, why_alone: str) -> Restarted:
        """A new process instead of this one. `why_alone` says why two may not run at once; empty where they may.

        Raises NotReady while it starts for the first time, Unavailable when the new process does not get ready.
        """
        if not self.ready.is_set():
            raise NotReady(f"{self.spec.service} starts for the first time: it is {self._state}")
        async with self._one_at_a_time:
            begun = time.monotonic()
            old = self._process
            why = self.spec.alone or why_alone
            if old is None:
                how, why = "started", ""
                self._wake.set()
                await self._until_ready()
            elif why or not self.spec.inherits:
                how = "in turn"
                await self._take_turns(old, why)
            else:
                how = "two at once"
                self._coming = asyncio.create_task(self._replace(old))
                try:
                    await asyncio.shield(self._coming)
                finally:
                    if self._coming.done():
                        self._coming = None
            return Restarted(self.spec.service, how, why, round(time.monotonic() - begun, 3))

    async def stop(self) -> None:
        """What it had accepted is finished first, unless there is hurry."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait({self._coming})
        process = self._process
        if process is not None:
            if process.running.returncode is None:
                self._change(state="stopping", reason="finishing what was accepted")
            await process.leave(self.spec.stop_signal, self._patience_s, self._hurry)
        if self._leaving:
            await asyncio.wait(self._leaving)
        if self._state != "failed" and process is not None:
            self._change(state="stopped", reason=exit_text(process.running.returncode or 0), pid=None)

    @property
    def _patience_s(self) -> float:
        return self.spec.drain_s + self._timing.kill_after_s

    async def _wait_for(self, needs: Sequence[Keeper]) -> None:
        for need in needs:
            if not need.ready.is_set():
                self._change(state="waiting", reason=f"for {need.spec.service} to be ready")
                await need.ready.wait()

    async def _life(self) -> Death:
        """Of one process, or of one after the other while each is replaced by the next."""
        kills = kernel_kills()
        try:
            process = await self._spawn(standby=self._in_turn)
        except OSError as error:  # no memory or no process left for it; the rest of the stack goes on
            self._in_turn = False
            return Death(CANNOT_EXECUTE, 0.0, f"cannot be started: {error.strerror}")
        self._in_turn = False
        self._process = process
        self._change(state="starting", reason="", pid=process.pid, started_unix_s=process.begun_unix_s)
        while True:
            process = self._process
            self._replaced.clear()
            ready_s = await self._watch(process)
            if process is self._process and self._coming is not None:  # who was to replace it is its heir
                await asyncio.wait({self._coming})
            if process is self._process:
                break
        self._process = None
        process.forget()
        return Death(process.running.returncode or 0, ready_s, last_words(self._log), kernel_kills() > kills)

    async def _watch(self, process: Process) -> float:
        """Ask until the process ends or is replaced; for how long it had been ready without a break."""
        ended = asyncio.create_task(process.running.wait())
        replaced = asyncio.create_task(self._replaced.wait())
        ready_since: float | None = None
        heard: float | None = None  # since when it may be silent: one that is still being imported answers nobody
        unready = "not ready" if self._state == "ready" else self._state
        try:
            while not ended.done() and not replaced.done():
                found = await process.ask()
                if ended.done() or replaced.done():
                    break
                heard = heard if found.silent else time.monotonic()
                if found.ready:
                    ready_since = ready_since or time.monotonic()
                    unready = "not ready"
                    self.ready.set()
                    self._change(state="ready", reason="")
                elif not self._in_turn:
                    ready_since = None
                    self._change(state=unready, reason=found.reason)
                    if heard is not None:
                        self._kill_if_hung(process, heard)
                bound_log(self._log)
                pause_s = self._timing.ready_probe_s if found.ready else self._timing.starting_probe_s
                await asyncio.wait({ended, replaced}, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            return time.monotonic() - ready_since if ready_since else 0.0
        finally:
            ended.cancel()
            replaced.cancel()

    def _kill_if_hung(self, process: Process, heard: float) -> None:
        silent_s = time.monotonic() - heard
        if self.ready.is_set() and silent_s > self._timing.hung_s:
            self._change(state="not ready", reason=f"no answer for {silent_s:.0f} s: it is killed")
            process.kill()

    async def _pause(self, pace: Pace, death: Death) -> None:
        """Before it is started again; until somebody asks for it when that has been no use."""
        away: dict[str, Any] = {"pid": None, "started_unix_s": None}
        self._wake.clear()
        if pace.looping:
            self._change(state="failed", **away, reason=(
                f"it died {pace.deaths} times within {pace.span_s:.0f} s, the last time {death}; it is not started "
                f"again: look into {self._log}, then `ullage restart {self.spec.service}`"))
            async with self._doorstep.answering(lambda: self._reason):
                await self._wake.wait()
            pace.forgive()
            return
        self._change(state="restarting", **away, again=True, reason=f"{death}; again in {pace.delay_s:g} s")
        async with self._doorstep.answering(lambda: self._reason):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pace.delay_s):
                    await self._wake.wait()

    async def _replace(self, old: Process) -> None:
        """The new one takes over once it is ready; the old one then finishes what it has accepted."""
        try:
            new = await self._spawn(standby=True)
        except OSError as error:
            raise self._kept(f"could not be started: {error.strerror}") from None
        self._change(reason=f"replaced by pid {new.pid}, which is starting")
        try:
            await self._get_ready(new)
        except BaseException:
            await new.leave(self.spec.stop_signal, 0, self._hurry)
            raise
        self._process = new
        self._change(state="ready", reason="", pid=new.pid, started_unix_s=new.begun_unix_s)
        self._replaced.set()
        self._say_goodbye(old)

    async def _get_ready(self, new: Process) -> None:
        deadline = time.monotonic() + self._timing.replace_s
        while not (found := await new.ask()).ready:
            if new.running.returncode is not None:
                raise self._kept(f"{exit_text(new.running.returncode)} ({last_words(self._log)})")
            if time.monotonic() > deadline:
                raise self._kept(f"was not ready after {self._timing.replace_s:g} s ({found.reason})")
            await asyncio.sleep(self._timing.starting_probe_s)

    def _kept(self, what: str) -> Unavailable:
        return Unavailable(f"{self.spec.service} is not replaced: its new process {what}; the old one goes on")

    async def _take_turns(self, old: Process, why: str) -> None:
        """Callers wait at the door until the new process is ready; without a door of ours they are refused."""
        self._in_turn = True
        self._change(state="restarting", reason=f"asked for, one after the other: {why or 'it has its own sockets'}")
        await old.leave(farewell(self.spec), self._patience_s, self._hurry)
        await self._until_ready(old)

    async def _until_ready(self, not_this: Process | None = None) -> None:
        deadline = time.monotonic() + self._timing.replace_s
        while self._process in (None, not_this) or self._state != "ready":
            if time.monotonic() > deadline or (self._state == "failed" and not self._wake.is_set()):
                raise Unavailable(f"{self.spec.service} is not ready again: {self._reason or self._state}")
            await asyncio.sleep(POLL_S)

    def _say_goodbye(self, old: Process) -> None:
        leaving = asyncio.create_task(old.leave(farewell(self.spec), self._patience_s, self._hurry))
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    async def _spawn(self, *, standby: bool) -> Process:
        back = self._sockets / f"{self.spec.service}-{next(self._numbers)}.sock"
        return await spawn(self.spec, self._doorstep, self._log, back, standby=standby)

    def _change(self, *, again: bool = False, **changes: Any) -> None:
        self._state = changes.get("state", self._state)
        self._reason = changes.get("reason", self._reason)
        self._tell(self.spec.service, again=again, **changes)
