"""Start processes in the order they need each other, watch them, restart the dead, stop them all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ullage.errors import NotFound
from ullage.stack.doorstep import doorsteps
from ullage.stack.keeper import Keeper, Restarted
from ullage.stack.pace import Timing
from ullage.stack.services import Spec
from ullage.stack.state import ServiceRecord

OnChange = Callable[[ServiceRecord], None]


class Supervisor:
    """One process per spec. `records` is the state of each service, `on_change` hears of every change.

    `sockets` is the folder of private ones; beside the logs where none is named. Raises SettingsError when a port that
    a service would inherit is taken.
    """

    def __init__(
        self, specs: Sequence[Spec], logs: Path, on_change: OnChange, timing: Timing | None = None,
        sockets: Path | None = None,
    ) -> None:
        self._specs = tuple(specs)
        self._logs = logs
        self._sockets = sockets or logs
        self._on_change = on_change
        self._hurry = asyncio.Event()
        self._doors = doorsteps(specs)
        self._keepers = {spec.service: self._keeper(spec, timing or Timing()) for spec in specs}
        self.records = {spec.service: self._record(spec) for spec in specs}

    async def run(self, stop: asyncio.Event) -> None:
        """Keep everything up until `stop` is set, then stop everything.

        Raises the error of a service that cannot start at all (settings, memory, model), after the rest has stopped.
        """
        keeping = [
            asyncio.create_task(keeper.keep([self._keepers[need] for need in keeper.spec.needs]), name=service)
            for service, keeper in self._keepers.items()
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([stopping, *keeping], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stopping, *keeping):
                task.cancel()
            await asyncio.gather(stopping, *keeping, return_exceptions=True)
            for doorstep in self._doors.values():
                doorstep.close()
            await self._stop_all()

    async def restart(self, service: str, why_alone: str = "") -> Restarted:
        """Replace a service's process. `why_alone` says why two may not run at once; empty where they may.

        Raises NotFound for a service that does not run here, NotReady or Unavailable when there is no new process.
        """
        keeper = self._keepers.get(service)
        if keeper is None:
            raise NotFound(f"{service} does not run here: there are {', '.join(self._keepers)}")
        return await keeper.restart(why_alone)

    def hurry(self) -> None:
        """Do not wait for anybody: kill what is still running."""
        self._hurry.set()

    async def _stop_all(self) -> None:
        """Those who need others first, so that their last requests are still answered."""
        left = list(self._specs)
        while left:
            needed = {need for spec in left for need in spec.needs}
            wave = [spec for spec in left if spec.service not in needed] or left
            await asyncio.gather(*(self._keepers[spec.service].stop() for spec in wave))
            left = [spec for spec in left if spec not in wave]

    def _change(self, service: str, *, again: bool, **changes: Any) -> None:
        before = self.records[service]
        after = replace(before, restarts=before.restarts + again, **changes)
        if after != before:
            self.records[service] = after
            self._on_change(after)

    def _keeper(self, spec: Spec, timing: Timing) -> Keeper:
        return Keeper(spec, self._doors[spec.service], self._log(spec), self._sockets, timing, self._change,
                      self._hurry)

    def _record(self, spec: Spec) -> ServiceRecord:
        return ServiceRecord(spec.service, spec.host, spec.port, spec.probe, spec.profile, dict(spec.ledger),
                             log=str(self._log(spec)), cert=spec.cert)

    def _log(self, spec: Spec) -> Path:
        return self._logs / f"{spec.service}.log"
