"""What a machine has, as data: processor, memory and its limit, GPUs, disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

GpuKind = Literal["gpu", "mig", "vgpu"]
RUNTIMES = ("onnx", "openvino", "packed", "llama.cpp")
"""What models run on. A machine of a file is taken to have them all: a file describes hardware."""


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
    driver does not say who holds memory (vGPU, containers). `reserved_bytes` are the driver's own, neither free nor
    held by a process.

    CUDA shows a process one MIG slice only. A process is put on a slice, or on any GPU whatever its index, by
    `CUDA_VISIBLE_DEVICES=UUID`, and then knows it as `cuda:0`.
    """

    index: int
    name: str
    total_bytes: int
    free_bytes: int
    uuid: str = ""
    kind: GpuKind = "gpu"
    compute: tuple[int, int] | None = None
    holders: tuple[Holder, ...] = ()
    holders_known: bool = True
    reserved_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        """What processes hold, ours and others."""
        return max(0, self.total_bytes - self.free_bytes - self.reserved_bytes)


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that `path` is on; sizes in bytes."""

    path: str
    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """Sizes in bytes. `free_bytes` is what can be taken without touching anybody else's memory.

    `limit` says what bounds the memory: `host` or a cgroup file. `notes` are facts that could not be learned, and
    devices that were left out, each with the reason. `runtimes` are those of RUNTIMES that are installed.
    """

    cores: int
    total_bytes: int
    free_bytes: int
    limit: str
    gpus: tuple[Gpu, ...] = field(default=())
    disk: Disk | None = None
    name: str = "this machine"
    cpu_model: str = ""
    cpu_flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = RUNTIMES
