"""Read the machine that this process runs on."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pynvml

from ullage.devices.cgroup import CGROUP, OWN, cpu_quota, memory_bound
from ullage.devices.machine import RUNTIMES, Disk, Machine
from ullage.devices.nvml import gpus

CPUINFO = Path("/proc/cpuinfo")

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16",
         "asimd", "asimddp", "i8mm", "bf16", "sve")
"""What decides how fast a CPU multiplies small numbers, as /proc/cpuinfo spells it on x86-64 and on Arm."""


def detect(
    cgroup: Path = CGROUP,
    own: Path = OWN,
    *,
    cpuinfo: Path = CPUINFO,
    cache_dir: Path | None = None,
    nvml: Any = pynvml,
    environ: Mapping[str, str] = os.environ,
) -> Machine:
    """This machine, now. `own` lists the cgroups of this process. `cache_dir` is where model files go; without it no
    disk is looked at."""
    memory = psutil.virtual_memory()
    total, free, limit = memory.total, memory.available, "host"
    bound = memory_bound(cgroup, own)
    if bound is not None and bound.limit_bytes < total:
        total, free, limit = bound.limit_bytes, min(free, bound.free_bytes), bound.file
    found = gpus(nvml, environ)
    model, flags = _processor(cpuinfo)
    return Machine(
        cores=_cores(cgroup, own), total_bytes=total, free_bytes=min(free, total), limit=limit, gpus=found.gpus,
        disk=None if cache_dir is None else _disk(cache_dir), cpu_model=model, cpu_flags=flags, notes=found.notes,
        runtimes=_runtimes(),
    )


def _runtimes() -> tuple[str, ...]:
    """OpenVINO and the packed engine come with extras; the other two are always installed."""
    found = {"onnx": True, "openvino": find_spec("openvino") is not None, "llama.cpp": True,
             "packed": bool(find_spec("ullage.engines.cuda_packed") and find_spec("torch"))}
    return tuple(name for name in RUNTIMES if found[name])


def _cores(cgroup: Path, own: Path) -> int:
    """Cores this process may use: affinity, then the cgroup's quota rounded up."""
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(cgroup, own)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def _processor(cpuinfo: Path) -> tuple[str, tuple[str, ...]]:
    """(model, flags out of FLAGS) of the first core; empty where /proc/cpuinfo does not tell, as models on Arm."""
    try:
        first = cpuinfo.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return "", ()
    told = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
    flags = (told.get("flags") or told.get("Features") or "").split()
    return told.get("model name", ""), tuple(flag for flag in FLAGS if flag in flags)


def _disk(folder: Path) -> Disk:
    """The file system of a folder that may not exist yet: that of its nearest existing parent."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    usage = psutil.disk_usage(str(there))
    return Disk(str(there), usage.total, usage.free)
