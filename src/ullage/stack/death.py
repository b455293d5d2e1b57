"""Why a process ended, in words an operator can act on."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from ullage.errors import OUTCOMES, DoesNotFit, EngineFailed, ModelError, SettingsError, UllageError

CANNOT_EXECUTE = 126
"""What a shell answers for a command that it cannot execute."""

HOPELESS = {OUTCOMES[cls].exit_code for cls in (SettingsError, DoesNotFit, ModelError)}
"""Exit codes after which the same command would fail the same way."""

_MEANINGS = {
    signal.SIGSEGV: "a fault inside a native library",
    signal.SIGABRT: "a native library gave up",
    signal.SIGBUS: "a mapped file lost its bytes: is the disk of state_dir or cache_dir full?",
    signal.SIGILL: "this processor lacks an instruction that a library was built for",
}


@dataclass(frozen=True, slots=True)
class Death:
    """`ready_s`: for how long it had been ready without a break. `said`: the last words of its log."""

    code: int
    ready_s: float
    said: str
    kernel: bool = False
    """The kernel killed a process of this cgroup for memory meanwhile."""

    def __str__(self) -> str:
        if self.code == -signal.SIGKILL and self.kernel:
            return f"{exit_text(self.code)}, by the kernel, which had no memory left"
        if self.code < 0:
            meaning = _MEANINGS.get(signal.Signals(-self.code), "")
            return f"{exit_text(self.code)}{f' ({meaning})' if meaning else ''}"
        return f"{exit_text(self.code)}{f' ({self.said})' if self.code > 0 else ''}"


def exit_text(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def hopeless(service: str, death: Death, planned_bytes: int) -> UllageError:
    """The error of a service that cannot start at all, of the kind that its exit code stands for."""
    message = f"{service} cannot start: {death.said}"
    if death.code == OUTCOMES[DoesNotFit].exit_code:
        return DoesNotFit(message, needed_bytes=planned_bytes, budget_bytes=planned_bytes)
    named = {OUTCOMES[cls].exit_code: cls for cls in (SettingsError, ModelError)}
    return named.get(death.code, EngineFailed)(message)


def kernel_kills(events: Path = Path("/sys/fs/cgroup/memory.events")) -> int:
    """How often the kernel killed a process of our cgroup for memory; 0 where it does not count."""
    try:
        lines = events.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    counts = dict(line.split() for line in lines if len(line.split()) == 2)
    return int(counts.get("oom_kill", "0"))
