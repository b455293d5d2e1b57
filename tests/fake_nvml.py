"""NVML as a driver with given cards would answer, in place of the module `pynvml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

GIB = 1 << 30


class NVMLError(Exception):
    """`value` is the code, as in pynvml."""

    def __init__(self, value: int, text: str) -> None:
        super().__init__(text)
        self.value = value


NOT_SUPPORTED = NVMLError(3, "Not Supported")
NO_PERMISSION = NVMLError(4, "Insufficient Permissions")
NOT_FOUND = NVMLError(6, "Not Found")
NO_LIBRARY = NVMLError(12, "NVML Shared Library Not Found")
GPU_LOST = NVMLError(15, "GPU is lost")
MISMATCH = NVMLError(18, "RM has detected an NVML/RM version mismatch.")


def process(pid: int, size: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=size)


@dataclass
class Card:
    """One GPU or slice. `refusals` maps a function's name without `nvmlDevice` to the error it raises."""

    name: str = "NVIDIA H100 80GB HBM3"
    uuid: str = "GPU-0a"
    total: int = 80 * GIB
    reserved: int = GIB // 2
    free: int = 79 * GIB + GIB // 2
    compute: tuple[int, int] = (9, 0)
    computing: list[Any] = field(default_factory=list)
    drawing: list[Any] = field(default_factory=list)
    mig: bool | None = None
    slices: dict[int, Card] = field(default_factory=dict)
    virtualization: int = 0
    cores: int = 16896
    clock_mhz: int = 1980
    ids: tuple[int, int] = (1, 0)
    refusals: dict[str, NVMLError] = field(default_factory=dict)


class FakeNvml:
    """Each function looks at its card's refusals first. `opened` counts Init less Shutdown."""

    NVMLError = NVMLError

    def __init__(self, *cards: Card, init: NVMLError | None = None, count: NVMLError | None = None,
                 names: dict[int, str] | None = None, lost: tuple[int, ...] = (), old: bool = False) -> None:
        self.cards, self.init, self.count, self.names, self.lost, self.old = cards, init, count, names or {}, lost, old
        self.opened = 0

    def nvmlInit(self) -> None:
        if self.init:
            raise self.init
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        if self.count:
            raise self.count
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Card:
        if index in self.lost:
            raise GPU_LOST
        return self.cards[index]

    def nvmlSystemGetProcessName(self, pid: int) -> str:
        if pid not in self.names:
            raise NO_PERMISSION
        return self.names[pid]

    def nvmlDeviceGetMemoryInfo(self, card: Card, version: int | None = None) -> SimpleNamespace:
        self._refuse(card, "GetMemoryInfo")
        if version is None:
            return SimpleNamespace(total=card.total, free=card.free, used=card.total - card.free)
        if self.old:
            raise NVMLError(13, "Function Not Found")
        return SimpleNamespace(total=card.total, free=card.free, reserved=card.reserved,
                               used=card.total - card.free - card.reserved)

    def nvmlDeviceGetMigMode(self, card: Card) -> list[int]:
        if card.mig is None:
            raise NOT_SUPPORTED
        return [int(card.mig), int(card.mig)]

    def nvmlDeviceGetMaxMigDeviceCount(self, card: Card) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, card: Card, index: int) -> Card:
        if index not in card.slices:
            raise NOT_FOUND
        return card.slices[index]

    def nvmlDeviceGetMaxClockInfo(self, card: Card, kind: int) -> int:
        self._refuse(card, "GetMaxClockInfo")
        return card.clock_mhz

    def __getattr__(self, name: str) -> Any:
        answers = {
            "GetName": "name", "GetUUID": "uuid", "GetCudaComputeCapability": "compute",
            "GetComputeRunningProcesses": "computing", "GetGraphicsRunningProcesses": "drawing",
            "GetVirtualizationMode": "virtualization", "GetNumGpuCores": "cores",
        }
        short = name.removeprefix("nvmlDevice")
        if short in ("GetGpuInstanceId", "GetComputeInstanceId"):
            return lambda card: card.ids[short == "GetComputeInstanceId"]
        if short not in answers:
            raise AttributeError(name)

        def answer(card: Card) -> Any:
            self._refuse(card, short)
            return getattr(card, answers[short])

        return answer

    def _refuse(self, card: Card, short: str) -> None:
        if short in card.refusals:
            raise card.refusals[short]
