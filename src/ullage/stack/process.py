"""One process of a service: started with the sockets it takes over, told to stop, killed when it does not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from ullage.clients.stack import address
from ullage.http.handed import BACK
from ullage.http.run import HAND_OVER
from ullage.stack import child
from ullage.stack.doorstep import Doorstep
from ullage.stack.probe import Readiness, ask, probe, prove
from ullage.stack.services import Spec


@dataclass(slots=True)
class Process:
    """`back` is the socket of its own that only the supervisor asks; None where the port itself is asked."""

    spec: Spec
    running: asyncio.subprocess.Process
    back: Path | None
    begun_unix_s: float
    proven: bool = False

    @property
    def pid(self) -> int:
        return self.running.pid

    async def ask(self) -> Readiness:
        """Whether it is ready. Never raises."""
        spec = self.spec
        found = await (ask(self.back) if self.back else probe(spec.probe, spec.host, spec.port, spec.cert))
        if found.ready and not self.proven:
            found = await prove(spec.probe, spec.host, spec.port)
            self.proven = found.ready
        return found

    def tell(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.running.send_signal(number)

    async def leave(self, number: signal.Signals, seconds: float, hurry: asyncio.Event) -> None:
        """Told to stop; killed after `seconds`, or once there is hurry."""
        if self.running.returncode is None:
            self.tell(number)
            await self._wait_or_kill(seconds, hurry)
        self.forget()

    def forget(self) -> None:
        if self.back is not None:
            self.back.unlink(missing_ok=True)

    async def _wait_or_kill(self, seconds: float, hurry: asyncio.Event) -> None:
        ended = asyncio.create_task(self.running.wait())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({ended, hurried}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ended.done():
            self.kill()
        await ended

    def kill(self) -> None:
        """With the processes it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


def farewell(spec: Spec) -> signal.Signals:
    """What makes a process end once another serves its port, or waits to."""
    return HAND_OVER if spec.inherits else spec.stop_signal


async def spawn(spec: Spec, doorstep: Doorstep, log: Path, back: Path | None, *, standby: bool) -> Process:
    """Raises OSError when there is no memory, no file or no process left for it."""
    handed = doorstep.handed(standby=standby)
    listener = None
    try:
        if back is not None and handed:
            listener = private_listener(back)
            handed.append((listener.fileno(), BACK))
        listeners = ",".join(f"{number}={name}" for number, name in handed) or "-"
        launcher = (sys.executable, "-I", "-S", child.__file__, str(os.getpid()), listeners)
        with log.open("ab") as stream:
            running = await asyncio.create_subprocess_exec(
                *launcher, *spec.command, stdin=asyncio.subprocess.DEVNULL, stdout=stream, stderr=stream,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **spec.environment}, start_new_session=True,
                pass_fds=[number for number, _ in handed],
            )
    finally:
        if listener is not None:
            listener.close()
    return Process(spec, running, back if handed else None, time.time())


def private_listener(path: Path) -> socket.socket:
    """A unix socket that only this user may connect to."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with address(path) as name:
            listener.bind(name)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
