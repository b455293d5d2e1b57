"""Free memory of a GPU as CUDA itself tells it, without PyTorch: `cuMemGetInfo` of the driver library.

Asking takes a CUDA context of hundreds of MiB, so a short-lived process asks and takes the context with it. NVML
(`nvml.py`) is the usual way; this one confirms it where NVML may be wrong, as on a vGPU.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pynvml

from ullage.devices.machine import Gpu

LIBRARY = "libcuda.so.1"
OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY."""

ASK = "import sys; from ullage.devices.driver import main; main(sys.argv[1:])"

TIMEOUT_S = 60.0
"""The first context after boot takes some seconds; a driver that hangs must not hang the start."""


@dataclass(frozen=True, slots=True)
class CudaMemory:
    """`cuMemGetInfo` of a fresh process, in bytes. `context_bytes` is what that process's own context took, already
    missing from `free_bytes`; None where NVML does not tell."""

    free_bytes: int
    total_bytes: int
    context_bytes: int | None = None


def confirm_free(gpu: Gpu, environ: Mapping[str, str] = os.environ) -> int | None:
    """Bytes that a new process would find free, its context not yet taken; None where CUDA does not run.

    Where the size of the context is unknown it counts as taken, so the figure errs on the small side. On an H100
    (driver 580) it differed from NVML's by 0 to 3.3 MiB and took 1.2 s; the context was 524 MiB.
    """
    memory = cuda_memory(gpu, environ)
    return None if memory is None else memory.free_bytes + (memory.context_bytes or 0)


def cuda_memory(gpu: Gpu, environ: Mapping[str, str] = os.environ) -> CudaMemory | None:
    """CUDA's figures for one GPU, read by a process of their own; None where CUDA does not run."""
    own = {**environ, "CUDA_VISIBLE_DEVICES": gpu.uuid} if gpu.uuid else dict(environ)
    ordinal = 0 if gpu.uuid else gpu.index
    command = [sys.executable, "-c", ASK, str(ordinal), gpu.uuid]
    try:
        asked = subprocess.run(command, env=own, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    told = json.loads(asked.stdout)
    return None if told is None else CudaMemory(**told)


def read(ordinal: int, uuid: str, driver: Any, nvml: Any = pynvml) -> CudaMemory | None:
    """Ask `driver`, the CUDA driver library, in this process. A device too full for a context has nothing free."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), ordinal):
        return None
    before = _nvml_free(uuid, nvml)
    made = driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
    if made == OUT_OF_MEMORY:
        driver.cuDeviceTotalMem_v2(ctypes.byref(total), device)
        return CudaMemory(0, total.value)
    if made or driver.cuCtxSetCurrent(context) or driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
        return None
    after = _nvml_free(uuid, nvml)
    taken = None if before is None or after is None else max(0, before - after)
    return CudaMemory(free.value, total.value, taken)


def _nvml_free(uuid: str, nvml: Any) -> int | None:
    if not uuid:
        return None
    with contextlib.suppress(nvml.NVMLError):
        nvml.nvmlInit()
        try:
            return int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(uuid)).free)
        finally:
            nvml.nvmlShutdown()
    return None


def main(arguments: list[str]) -> None:
    """Print the figures as JSON, `null` where there is no driver."""
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        print("null")
        return
    memory = read(int(arguments[0]), arguments[1], driver)
    print(json.dumps(None if memory is None else asdict(memory)))
