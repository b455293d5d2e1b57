"""Memory of one GPU as this process sees it: what it takes device-wide, and the cap on what it may."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from typing import Any

import pynvml
import torch

STACK_LIMIT, PRINT_LIMIT, HEAP_LIMIT = 0, 1, 2
"""CUlimit of the driver's API."""

_lock = threading.Lock()
_caps: dict[int, dict[int, int]] = {}
"""Device -> engine -> bytes its allocator may hold."""


class Footprint:
    """Device-wide bytes of this process on one GPU, context included.

    Asked before the CUDA context exists. The driver's own count of this process is used where it gives one; else what
    free memory lost while the engine loaded, which is exact when nobody else's use changed meanwhile.
    """

    def __init__(self, index: int, uuid: str = "") -> None:
        self._index = index
        self._handle = _handle(index, uuid)
        self._fresh = not torch.cuda.is_initialized()
        self._free_before = self._free()
        self._beside = 0

    def measure(self) -> int:
        """Bytes now; what is not the allocator's is remembered for `used`."""
        torch.cuda.synchronize(self._index)
        own = self._own()
        if own is None:
            own = max(0, self._free_before - self._free())
        self._beside = max(0, own - torch.cuda.memory_reserved(self._index))
        return own

    def used(self) -> int:
        return self._beside + int(torch.cuda.memory_reserved(self._index))

    def peak(self) -> int:
        return self._beside + int(torch.cuda.max_memory_reserved(self._index))

    @property
    def beside_bytes(self) -> int:
        """Of the last measurement: context, kernels, graphs and whatever else is not the allocator's."""
        return self._beside

    def _free(self) -> int:
        if self._handle is not None:
            with contextlib.suppress(pynvml.NVMLError):
                return int(pynvml.nvmlDeviceGetMemoryInfo(self._handle).free)
        return int(torch.cuda.mem_get_info(self._index)[0])

    def _own(self) -> int | None:
        """The driver's count for this process; None where it gives none (containers, vGPU)."""
        if self._handle is None:
            return None
        with contextlib.suppress(pynvml.NVMLError):
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle):
                if process.pid == os.getpid() and process.usedGpuMemory:
                    return int(process.usedGpuMemory)
        return None


def _handle(index: int, uuid: str) -> Any:
    """The NVML handle of a visible device; None where NVML cannot tell which one it is."""
    try:
        pynvml.nvmlInit()
        if uuid:
            return pynvml.nvmlDeviceGetHandleByUUID(uuid)
        if os.environ.get("CUDA_VISIBLE_DEVICES"):
            return None
        return pynvml.nvmlDeviceGetHandleByIndex(index)
    except pynvml.NVMLError:
        return None


def shrink_context() -> None:
    """Give back what a CUDA context sets aside for the stacks of all threads of the chip, for device-side printing and
    for a device-side heap. The driver takes more again when a kernel needs it, which warm-up then shows."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    for limit, size in ((STACK_LIMIT, 0), (PRINT_LIMIT, 1 << 16), (HEAP_LIMIT, 1 << 16)):
        driver.cuCtxSetLimit(limit, ctypes.c_size_t(size))


def shrink_library() -> None:
    """Let the matrix library hold 4 MiB where it takes up to 100. Measured on a H200: no kernel of FP8 got slower, nor
    any batch of int8 or bf16. Must be told before the library is first used in this process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:1")
    os.environ.setdefault("CUBLASLT_WORKSPACE_SIZE", "4096")


def cap(index: int, engine: object, allowed_bytes: int | None) -> None:
    """Hold the allocator of this process to the sum of what its engines on the GPU may take; None lifts one's share."""
    with _lock:
        shares = _caps.setdefault(index, {})
        if allowed_bytes is None:
            shares.pop(id(engine), None)
        else:
            shares[id(engine)] = allowed_bytes
        total = torch.cuda.get_device_properties(index).total_memory
        fraction = sum(shares.values()) / total if shares else 1.0
        torch.cuda.set_per_process_memory_fraction(min(1.0, fraction), index)
