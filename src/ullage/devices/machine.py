"""Read the machine: cores, memory under cgroup limits, GPUs by NVML, disk."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import psutil
import pynvml

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds memory of a GPU; `held_bytes` is None where the driver does not tell."""

    pid: int
    name: str
    held_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One device as a process would see it; sizes in bytes.

    `index` is its place among the visible devices, so `cuda:INDEX` names it. `compute` is the compute capability
    (8, 0), or None when unknown. A MIG slice or a vGPU is a device of its own. `holders_known` is False where the
    driver does not say who holds memory (vGPU, containers).
    """

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    uuid: str = ""
    kind: Literal["gpu", "mig", "vgpu"] = "gpu"
    compute: tuple[int, int] | None = None
    holders: tuple[Holder, ...] = ()
    holders_known: bool = True

    @property
    def held_bytes(self) -> int:
        return self.total_bytes - self.free_bytes


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that `path` is on; sizes in bytes."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Sizes in bytes. `free_bytes` is what can be taken without touching anybody else's memory."""

    cores: int
    total_bytes: int
    free_bytes: int
    limit: str
    gpus: tuple[Gpu, ...] = field(default=())
    disk: Disk | None = None
    name: str = "this machine"


def detect(cgroup: Path = CGROUP) -> Machine:
    """This machine, now. `limit` says what bounds the memory: `host` or the cgroup file."""
    memory = psutil.virtual_memory()
    total, free, limit = memory.total, memory.available, "host"
    bound = _cgroup_memory(cgroup)
    if bound is not None and bound[0] < total:
        total, free, limit = bound[0], min(free, bound[1]), bound[2]
    return Machine(cores=_cores(cgroup), total_bytes=total, free_bytes=free, limit=limit, gpus=_gpus())


def rss_bytes(pid: int | None = None) -> int:
    """Resident memory of one process and its children, in bytes; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        return int(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]))
    except psutil.NoSuchProcess:
        return 0


def _read_number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").split()[0]
    except (OSError, IndexError):
        return None
    return int(text) if text.isdigit() else None


def _cgroup_memory(cgroup: Path) -> tuple[int, int, str] | None:
    """(limit, free below it, file) of cgroup v2, else v1; page cache that can be dropped counts as free."""
    for limit_name, usage_name, stat_name in (
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ):
        limit = _read_number(cgroup / limit_name)
        if limit is None:
            continue
        usage = _read_number(cgroup / usage_name) or 0
        return limit, max(0, limit - usage + _reclaimable(cgroup / stat_name)), limit_name
    return None


def _reclaimable(stat: Path) -> int:
    try:
        lines = stat.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    values = dict(line.split()[:2] for line in lines if len(line.split()) >= 2)
    return int(values.get("inactive_file", values.get("total_inactive_file", "0")))


def _cores(cgroup: Path) -> int:
    """Cores this process may use: affinity, then the cgroup's quota rounded up."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


def _gpus() -> tuple[Gpu, ...]:
    """GPUs by NVML; none when there is no driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        found = []
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found.append(Gpu(index, str(pynvml.nvmlDeviceGetName(handle)), int(memory.total), int(memory.free)))
        return tuple(found)
    finally:
        pynvml.nvmlShutdown()
