"""What a run costs in processor time, by process, and what the machine does beside it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Cost:
    """`cpu_s` maps each of our processes to its processor time. `busy` is the share [0, 1] of all cores that somebody
    used, `others_cores` how many cores were taken by what is none of ours (what the host withheld too). `load` is the
    one-minute load average before and after."""

    seconds: float
    cpu_s: dict[str, float]
    busy: float
    others_cores: float
    cores: int
    load: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Meter:
    """Begins to count when it is made."""

    def __init__(self, processes: Mapping[str, psutil.Process]) -> None:
        self._processes = dict(processes)
        self._begun, self._load = time.perf_counter(), os.getloadavg()[0]
        self._machine_s, self._own = _machine_s(), self._spent()

    def read(self) -> Cost:
        """Since it was made."""
        seconds = time.perf_counter() - self._begun
        own = {name: spent - self._own[name] for name, spent in self._spent().items()}
        return cost(seconds, _machine_s() - self._machine_s, own, psutil.cpu_count() or 1,
                    (self._load, os.getloadavg()[0]))

    def _spent(self) -> dict[str, float]:
        return {name: cpu_s(process) for name, process in self._processes.items()}


def cost(seconds: float, machine_s: float, own: dict[str, float], cores: int, load: tuple[float, float]) -> Cost:
    """`machine_s` is what all cores did together; clocks tick every 10 ms, so that a little less than nothing may be
    left for others."""
    return Cost(seconds, own, min(1.0, machine_s / (seconds * cores)),
                max(0.0, machine_s - sum(own.values())) / seconds, cores, load)


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _machine_s() -> float:
    """All cores together, without idling and waiting for disks."""
    times = psutil.cpu_times()._asdict()
    guests = sum(times.get(name, 0.0) for name in ("guest", "guest_nice"))  # counted in user and nice too
    idle = sum(times.get(name, 0.0) for name in ("idle", "iowait"))
    return float(sum(times.values()) - guests - idle)
