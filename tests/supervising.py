"""A supervisor of small services inside a test, with everything it said."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import psutil

from ullage.stack.pace import Timing
from ullage.stack.supervisor import Supervisor

FAST = Timing(first_delay_s=0.05, longest_delay_s=0.2, healthy_s=60, kill_after_s=5, starting_probe_s=0.05,
              ready_probe_s=0.1)


class Watched:
    """A supervisor with everything it said."""

    def __init__(self, specs, folder, timing=FAST):
        self.heard = []
        self.supervisor = Supervisor(specs, folder, self.heard.append, timing)
        self.stop = asyncio.Event()

    def states(self, service):
        """Each state once in a row."""
        said = [record.state for record in self.heard if record.service == service]
        return [state for state, before in zip(said, [None, *said], strict=False) if state != before]

    def __getitem__(self, service):
        return self.supervisor.records[service]

    async def until(self, true):
        async with asyncio.timeout(30):
            while not true():
                await asyncio.sleep(0.02)

    async def until_ready(self):
        await self.until(lambda: all(r.state == "ready" for r in self.supervisor.records.values()))


@asynccontextmanager
async def supervised(specs, folder, timing=FAST):
    watched = Watched(specs, folder, timing)
    running = asyncio.create_task(watched.supervisor.run(watched.stop))
    try:
        yield watched
    finally:
        watched.stop.set()
        await running


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
