"""GPUs by NVML: whole ones, MIG slices, vGPUs. A fact the driver does not tell is noted and never stops the rest."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import pynvml

from ullage.devices.machine import Gpu, GpuKind, Holder
from ullage.devices.visible import Board, Device, visible

PROCESS_CALLS = (
    "nvmlDeviceGetComputeRunningProcesses",
    "nvmlDeviceGetGraphicsRunningProcesses",
    "nvmlDeviceGetMPSComputeRunningProcesses",
)

UNEXPLAINED_BYTES = 512 << 20
"""Memory in use that no listed process accounts for, up to which the list passes for complete: the smallest
headroom of a plan, so no plan turns on less."""

NO_DRIVER = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)


@dataclass(frozen=True, slots=True)
class Gpus:
    """What is visible, in the order of `cuda:0`, `cuda:1`, ...; and what was left out or not told, and why."""

    gpus: tuple[Gpu, ...] = ()
    notes: tuple[str, ...] = ()


def gpus(nvml: Any = pynvml, environ: Mapping[str, str] = os.environ) -> Gpus:
    """The GPUs that a process started with `environ` would see. Never raises for what a driver does or lacks."""
    # `void` hides nothing: device plugins that hand GPUs in by CDI set it to keep a second injector away.
    asked = environ.get("NVIDIA_VISIBLE_DEVICES", "")
    if asked == "none":
        return Gpus(notes=("NVIDIA_VISIBLE_DEVICES=none hides every GPU; set it to all or to their numbers",))
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Gpus(notes=_no_nvml(error, asked))
    try:
        return _Driver(nvml).gpus(environ)
    finally:
        nvml.nvmlShutdown()


def _no_nvml(error: Any, asked: str) -> tuple[str, ...]:
    if getattr(error, "value", None) not in NO_DRIVER:
        return (f"GPUs are left out: NVML does not start ({error}); `nvidia-smi` should show them first",)
    if asked:
        return (f"NVIDIA_VISIBLE_DEVICES={asked}, yet there is no NVIDIA driver ({error}): "
                "start the container with GPUs (docker run --gpus all)",)
    return ()


@dataclass(slots=True)
class _Driver:
    """NVML for one reading. `told` asks one thing; a refusal is None, and its reason stays in `why`."""

    nvml: Any
    notes: list[str] = field(default_factory=list)
    why: str = ""

    def told(self, call: str, *arguments: Any, **options: Any) -> Any:
        try:
            return getattr(self.nvml, call)(*arguments, **options)
        except (self.nvml.NVMLError, AttributeError) as error:
            # An old binding lacks the function, an old driver the entry point: both do not tell.
            self.why = str(error)
            return None

    def gpus(self, environ: Mapping[str, str]) -> Gpus:
        count = self.told("nvmlDeviceGetCount")
        if count is None:
            return Gpus(notes=(f"GPUs are left out: the driver does not count them ({self.why})",))
        handles = [self._open(number) for number in range(count)]
        boards = [self._board(number, handle) for number, handle in self._in_cuda_order(handles, environ)]
        devices, remarks = visible(boards, environ.get("CUDA_VISIBLE_DEVICES"))
        seen = tuple(dataclasses.replace(device.gpu, index=index) for index, device in enumerate(devices))
        if len(seen) > 1 and any(gpu.kind == "mig" for gpu in seen):
            remarks.append("CUDA shows a process one MIG slice only: start one process a slice, each with "
                           "CUDA_VISIBLE_DEVICES=UUID")
        return Gpus(seen, (*self.notes, *remarks))

    def _in_cuda_order(self, handles: list[Any], environ: Mapping[str, str]) -> list[tuple[int, Any]]:
        """NVML counts by PCI bus. CUDA does with CUDA_DEVICE_ORDER=PCI_BUS_ID, and else puts the fastest first by
        a rule of its own; cores times clock comes near it."""
        numbered = list(enumerate(handles))
        names = {self.told("nvmlDeviceGetName", handle) for handle in handles if handle is not None}
        if environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID" or len(names) < 2:
            return numbered
        self.notes.append("GPUs differ and CUDA_DEVICE_ORDER is not PCI_BUS_ID: their numbers are an estimate of "
                          "CUDA's, the fastest first; set CUDA_DEVICE_ORDER=PCI_BUS_ID to be sure")
        return sorted(numbered, key=lambda pair: -self._speed(pair[1]))

    def _speed(self, handle: Any) -> int:
        if handle is None:
            return 0
        cores = self.told("nvmlDeviceGetNumGpuCores", handle)
        clock = self.told("nvmlDeviceGetMaxClockInfo", handle, pynvml.NVML_CLOCK_SM)
        return int(cores or 0) * int(clock or 0)

    def _open(self, number: int) -> Any:
        handle = self.told("nvmlDeviceGetHandleByIndex", number)
        if handle is None:
            self.notes.append(f"GPU {number} is left out: the driver does not open it ({self.why})")
        return handle

    def _board(self, number: int, handle: Any) -> Board:
        if handle is None:
            return Board("", ())
        uuid = str(self.told("nvmlDeviceGetUUID", handle) or "")
        name = self._name(handle)
        mode = self.told("nvmlDeviceGetMigMode", handle)
        if mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            return Board(uuid, tuple(self._slices(number, handle, name, uuid)))
        virtual = self.told("nvmlDeviceGetVirtualizationMode", handle) == pynvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU
        kind: GpuKind = "vgpu" if virtual or name.startswith("GRID ") else "gpu"
        gpu = self._gpu(f"GPU {number} {name}", handle, name, kind, self._compute(number, handle))
        return Board(uuid, (Device(gpu, (uuid,)),) if gpu else ())

    def _slices(self, number: int, handle: Any, name: str, uuid: str) -> Iterator[Device]:
        compute = self._compute(number, handle)
        found = 0
        for place in range(self.told("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
            part = self.told("nvmlDeviceGetMigDeviceHandleByIndex", handle, place)
            if part is None:
                # Places are handed out with gaps: most of them are empty.
                continue
            found += 1
            gpu = self._gpu(f"MIG slice {place} of GPU {number}", part, self._name(part), "mig", compute)
            if gpu:
                yield Device(gpu, (gpu.uuid, *self._old_name(part, uuid)))
        if not found:
            self.notes.append(f"GPU {number} {name} is left out: it is in MIG mode and has no slice "
                              "(`nvidia-smi mig -cgi PROFILE -C` makes one)")

    def _old_name(self, part: Any, uuid: str) -> tuple[str, ...]:
        """`MIG-GPU-UUID/GI/CI`, which CUDA still takes beside the slice's own UUID."""
        ids = [self.told(call, part) for call in ("nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetComputeInstanceId")]
        return () if None in ids else (f"MIG-{uuid}/{ids[0]}/{ids[1]}",)

    def _gpu(self, what: str, handle: Any, name: str, kind: GpuKind, compute: tuple[int, int] | None) -> Gpu | None:
        memory = self.told("nvmlDeviceGetMemoryInfo", handle, version=pynvml.nvmlMemory_v2)
        if memory is None:
            memory = self.told("nvmlDeviceGetMemoryInfo", handle)
        if memory is None:
            self.notes.append(f"{what} is left out: the driver does not tell its memory ({self.why})")
            return None
        # The first version counts the driver's reserve as used and does not say how much it is: 480 MiB of an H100,
        # by which CUDA's total is less than NVML's.
        gpu = Gpu(0, name, int(memory.total), int(memory.free), str(self.told("nvmlDeviceGetUUID", handle) or ""),
                  kind, compute, reserved_bytes=int(getattr(memory, "reserved", 0)))
        holders, told = self._holders(what, handle)
        explained = sum(holder.held_bytes or 0 for holder in holders)
        known = told and (gpu.held_bytes - explained <= UNEXPLAINED_BYTES
                          and all(holder.held_bytes is not None for holder in holders))
        return dataclasses.replace(gpu, holders=holders, holders_known=known)

    def _holders(self, what: str, handle: Any) -> tuple[tuple[Holder, ...], bool]:
        """(processes by falling size, whether the driver answered)."""
        held: dict[int, int | None] = {}
        answered = False
        for call in PROCESS_CALLS:
            processes = self.told(call, handle)
            if processes is None:
                if call == PROCESS_CALLS[0]:
                    self.notes.append(f"{what}: the driver does not say who holds memory ({self.why})")
                continue
            answered = answered or call == PROCESS_CALLS[0]
            for process in processes:
                # A process that computes and draws is listed twice, each time with all it holds.
                size = _size(process.usedGpuMemory)
                held[process.pid] = max(filter(None, (size, held.get(process.pid))), default=size)
        found = [Holder(pid, self._process_name(pid), size) for pid, size in held.items()]
        return tuple(sorted(found, key=lambda holder: (-(holder.held_bytes or 0), holder.pid))), answered

    def _process_name(self, pid: int) -> str:
        """The program's file name; empty when the driver does not tell, as for a process of another container."""
        words = str(self.told("nvmlSystemGetProcessName", pid) or "").split()
        return PurePosixPath(words[0]).name.encode("utf-8", "replace").decode() if words else ""

    def _name(self, handle: Any) -> str:
        return str(self.told("nvmlDeviceGetName", handle) or "unnamed GPU")

    def _compute(self, number: int, handle: Any) -> tuple[int, int] | None:
        told = self.told("nvmlDeviceGetCudaComputeCapability", handle)
        if told is None:
            self.notes.append(f"GPU {number}: the driver does not tell the compute capability ({self.why})")
            return None
        return int(told[0]), int(told[1])


def _size(told: int | None) -> int | None:
    """Old bindings hand NVML's all-ones value for `not available` through."""
    return None if told is None or told == pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value else int(told)
