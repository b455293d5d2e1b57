"""`/v1/memory` and its metrics: what was planned, what is measured, and what happened between the two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import psutil
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from ullage.devices import rss_bytes
from ullage.http.gate import ByteGate
from ullage.http.metrics import counter, gauge

if TYPE_CHECKING:
    from ullage.engines.base import Usage

STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class SteppedDown:
    """A profile that did not load, and the one that was tried next."""

    profile: str
    instead: str
    reason: str


@dataclass(slots=True)
class Memory:
    """What one process planned and holds; sizes in bytes.

    `allowance_bytes` may be used beyond the plan before anything is done about it; `elsewhere_bytes` is what the
    process held for others before the model was loaded. `watched` is False where nobody acts on the figures.
    `events` counts what was done to stay inside, `batch_tokens` is (cap now, cap planned) and `usage` what engines
    hold, both read when asked. `read` measures resident memory, by default with that of child processes.
    """

    profile: str = ""
    ledger: Mapping[str, int] = field(default_factory=dict)
    device: str = "cpu"
    gpu_ledger: Mapping[str, int] | None = None
    allowance_bytes: int = 0
    elsewhere_bytes: int = 0
    watched: bool = False
    stepped_down: list[SteppedDown] = field(default_factory=list)
    gate: ByteGate | None = None
    events: Callable[[], Mapping[str, int]] = dict
    batch_tokens: Callable[[], tuple[int, int] | None] = lambda: None
    usage: Callable[[], Sequence[Usage]] = tuple
    read: Callable[[], int] = rss_bytes
    seen_bytes: int = 0

    @property
    def planned_bytes(self) -> int:
        return sum(self.ledger.values())

    @property
    def gpu_planned_bytes(self) -> int:
        return sum((self.gpu_ledger or {}).values())

    @property
    def ceiling_bytes(self) -> int:
        return self.planned_bytes + self.allowance_bytes + self.elsewhere_bytes

    def resident_bytes(self) -> int:
        """Resident memory now."""
        now = self.read()
        self.seen_bytes = max(self.seen_bytes, now)
        return now

    @property
    def peak_bytes(self) -> int:
        """The most that was ever resident: as the system kept it, else as it was seen here."""
        return max(self.seen_bytes, kept_peak_bytes())

    def report(self) -> dict[str, Any]:
        now = self.resident_bytes()
        cap = self.batch_tokens()
        return {
            "profile": self.profile,
            "device": self.device,
            "ledger": dict(self.ledger),
            "planned_bytes": self.planned_bytes,
            "resident_bytes": now,
            "peak_bytes": self.peak_bytes,
            "headroom_bytes": self.planned_bytes - now,
            "allowance_bytes": self.allowance_bytes,
            "elsewhere_bytes": self.elsewhere_bytes,
            "ceiling_bytes": self.ceiling_bytes,
            "watched": self.watched,
            "gpu": self._gpu(),
            "batch_tokens": None if cap is None else {"cap": cap[0], "planned": cap[1]},
            "bodies": None if self.gate is None else _bodies(self.gate),
            "events": dict(self.events()),
            "stepped_down": [asdict(step) for step in self.stepped_down],
        }

    def _gpu(self) -> dict[str, Any] | None:
        if self.gpu_ledger is None:
            return None
        used = [usage for usage in self.usage() if usage.device != "cpu"]
        taken = sum(usage.used_bytes for usage in used) if used else None
        return {
            "ledger": dict(self.gpu_ledger),
            "planned_bytes": self.gpu_planned_bytes,
            "used_bytes": taken,
            "peak_bytes": sum(usage.peak_bytes for usage in used) if used else None,
            "headroom_bytes": None if taken is None else self.gpu_planned_bytes - taken,
            "engines": [asdict(usage) for usage in used],
        }


@runtime_checkable
class Held(Protocol):
    """A lifecycle that says what its process holds."""

    memory: Memory


def resident_bytes() -> int:
    """Resident memory of this process without its children: one read of /proc, some 20 microseconds."""
    return int(psutil.Process().memory_info().rss)


def kept_peak_bytes(status: Path = STATUS) -> int:
    """The peak that the system keeps for this process (VmHWM); 0 where it keeps none."""
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    found = [line.split() for line in lines if line.startswith("VmHWM:")]
    return int(found[0][1]) * 1024 if found else 0


def _bodies(gate: ByteGate) -> dict[str, int]:
    return {"capacity_bytes": gate.capacity_bytes, "alone_bytes": gate.alone_bytes, "held_bytes": gate.held_bytes,
            "refused": gate.refused}


EVENTS = {
    "ooms": "Times an engine ran out of memory",
    "splits": "Batches run as two for want of memory",
    "cap_lowerings": "Times the cap on batch tokens was lowered",
    "cap_raises": "Times the cap on batch tokens was raised again",
    "probes": "Longest rows run to see whether one fits",
    "devices_lost": "Engines taken out",
    "over_ceiling": "Times resident memory was found over its ceiling",
    "trims": "Times freed memory was handed back to the system",
    "holds": "Times new requests were held back for want of memory",
}
"""What a service may count, and what it means."""


def add_memory_routes(app: FastAPI, memory: Memory, registry: CollectorRegistry) -> None:
    """`GET /v1/memory`, and the same as metrics."""
    gauge(registry, "ullage_memory_planned_bytes", "Predicted resident memory", lambda: memory.planned_bytes)
    gauge(registry, "ullage_memory_resident_bytes", "Measured resident memory", memory.resident_bytes)
    gauge(registry, "ullage_memory_peak_bytes", "Highest resident memory", lambda: memory.peak_bytes)
    gauge(registry, "ullage_memory_headroom_bytes", "Predicted less measured",
          lambda: memory.planned_bytes - memory.resident_bytes())
    gauge(registry, "ullage_memory_ceiling_bytes", "Where something is done about it", lambda: memory.ceiling_bytes)
    gauge(registry, "ullage_memory_gpu_planned_bytes", "Predicted memory on the GPU", lambda: memory.gpu_planned_bytes)
    for name, text in (("used", "Measured memory on the GPU"), ("peak", "Highest memory on the GPU")):
        gauge(registry, f"ullage_memory_gpu_{name}_bytes", text, _on_gpu(memory, f"{name}_bytes"))
    gauge(registry, "ullage_memory_stepped_down", "Profiles that did not load", lambda: len(memory.stepped_down))
    for place, (name, text) in enumerate((("cap", "now"), ("planned", "by plan"))):
        gauge(registry, f"ullage_batch_tokens_{name}", f"Tokens a batch may hold {text}", _tokens(memory, place))
    for name, text in EVENTS.items():
        counter(registry, f"ullage_memory_{name}", text, _event(memory, name))
    if memory.gate is not None:
        gate = memory.gate
        gauge(registry, "ullage_bodies_held_bytes", "Request bodies in work", lambda: gate.held_bytes)
        gauge(registry, "ullage_bodies_capacity_bytes", "Request bodies taken in at once", lambda: gate.capacity_bytes)
        counter(registry, "ullage_bodies_refused", "Requests refused before they were read", lambda: gate.refused)

    @app.get("/v1/memory", tags=["memory"])
    async def report() -> dict[str, Any]:
        return memory.report()


def _on_gpu(memory: Memory, name: str) -> Callable[[], float]:
    return lambda: float(sum(getattr(usage, name) for usage in memory.usage() if usage.device != "cpu"))


def _tokens(memory: Memory, place: int) -> Callable[[], float]:
    return lambda: float((memory.batch_tokens() or (0, 0))[place])


def _event(memory: Memory, name: str) -> Callable[[], float]:
    return lambda: float(memory.events().get(name, 0))
