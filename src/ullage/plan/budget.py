"""How many bytes may be used: what was stated, and never more than what is free less a headroom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ullage.devices import Gpu, Machine
from ullage.plan.profile import mebibytes, room
from ullage.settings import Service, Settings

MIB = 1 << 20
LEAST_HEADROOM_BYTES = 512 * MIB
HEADROOM_SHARE = 20
"""One part in twenty of a device, 5 %."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Bytes that may be used of one memory, and where the figure comes from.

    `free_bytes` are those that are free, headroom and all, where they are what bounds it.
    """

    size: int
    source: str
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """`host` bounds resident memory; `gpus` maps a GPU's index to what may be used of it."""

    host: Limit
    gpus: Mapping[int, Limit]


def budget(settings: Settings, machine: Machine, service: Service | None = None) -> Budget:
    """What the stack may use, or what one service started alone may use."""
    own = settings.service_memory(service) if service is not None else None
    stated = {f"{service}_memory": own, "memory": None if settings.memory is None else int(settings.memory)}
    host = _limit(stated, machine.free_bytes, headroom_bytes(settings.headroom, machine.total_bytes), "")
    return Budget(host, {gpu.index: _gpu_limit(settings, gpu, service) for gpu in machine.gpus})


def _gpu_limit(settings: Settings, gpu: Gpu, service: Service | None) -> Limit:
    own = settings.service_gpu_memory(service) if service is not None else None
    stated = {
        f"{service}_gpu_memory": own,
        "gpu_memory": None if settings.gpu_memory is None else int(settings.gpu_memory),
    }
    headroom = headroom_bytes(settings.gpu_headroom, gpu.total_bytes)
    return _limit(stated, gpu.free_bytes, headroom, f" of {mebibytes(gpu.total_bytes)}{held_by(gpu)}")


def headroom_bytes(stated: int | None, total_bytes: int) -> int:
    return int(stated) if stated is not None else max(total_bytes // HEADROOM_SHARE, LEAST_HEADROOM_BYTES)


def _limit(stated: Mapping[str, int | None], free_bytes: int, headroom: int, beside: str) -> Limit:
    """The least of what was stated and of what is free less the headroom."""
    given = [(size, name) for name, size in stated.items() if size is not None]
    left = max(0, free_bytes - headroom)
    free = f"{room(free_bytes)} free{beside} less {mebibytes(headroom)} headroom"
    if not given:
        return Limit(left, free, free_bytes)
    size, name = min(given)
    if size <= left:
        return Limit(size, name)
    return Limit(left, f"{name} states {room(size)}, but there are {free}", free_bytes)


def held_by(gpu: Gpu) -> str:
    """Who holds the rest of a GPU, as far as the driver tells: `, 59,392 MiB held by python (pid 7) 22,528 MiB`."""
    if not gpu.held_bytes:
        return ""
    held = f", {mebibytes(gpu.held_bytes)} held by "
    if not gpu.holders:
        return held + ("others" if gpu.holders_known else "others (the driver does not say whom)")
    largest = sorted(gpu.holders, key=lambda holder: -(holder.held_bytes or 0))[:3]
    return held + ", ".join(
        f"{h.name} (pid {h.pid})" + (f" {mebibytes(h.held_bytes)}" if h.held_bytes is not None else "") for h in largest
    )
