"""Which GPUs a process sees, and in which order: `CUDA_VISIBLE_DEVICES` as CUDA reads it.

A list by commas of ordinals, or of UUIDs or the beginning of one. The first entry decides which of the two; the first
that names no device ends the list; a device named twice empties it. Source: the CUDA programming guide on environment
variables; every form but those of MIG was compared with `cuDeviceGetCount` of driver 580 on an H100.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ullage.devices.machine import Gpu

VARIABLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU, or a slice of one, and every name by which `CUDA_VISIBLE_DEVICES` may call it."""

    gpu: Gpu
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """One physical GPU, in the order of CUDA's ordinals. `devices` is itself, its MIG slices, or nothing when the
    driver does not tell enough: it keeps its ordinal."""

    uuid: str
    devices: tuple[Device, ...]


def visible(boards: Sequence[Board], value: str | None) -> tuple[list[Device], list[str]]:
    """(devices in visible order, notes). `value` is that of `CUDA_VISIBLE_DEVICES`; None when it is not set."""
    if value is None or not boards:
        return [device for board in boards for device in board.devices], []
    entries = [entry.strip() for entry in value.split(",")]
    if entries in ([""], ["-1"]):
        return [], [f"{VARIABLE}={value} hides every GPU; unset it to see them"]
    chosen: list[Device] = []
    for place, entry in enumerate(entries):
        found = _find(boards, entry, entries[0])
        if found is None:
            return chosen, _ending(value, entry, place)
        if any(device in chosen for device in found):
            return [], [f"{VARIABLE}={value} names {entry} twice, so CUDA shows no GPU; name each one once"]
        chosen += found
    return chosen, []


def _ending(value: str, entry: str, place: int) -> list[str]:
    if entry == "-1":
        return []
    kept = f"only the {place} before it are visible" if place else "no GPU is visible"
    return [f"{VARIABLE}={value}: {entry or 'an empty entry'} names no GPU here, so {kept}; "
            "`nvidia-smi -L` lists their numbers and UUIDs"]


def _find(boards: Sequence[Board], entry: str, first: str) -> tuple[Device, ...] | None:
    if first.startswith("GPU-"):
        return _only([board.devices for board in boards if _begins(entry, "GPU-", (board.uuid,))])
    if first.startswith("MIG-"):
        slices = [device for board in boards for device in board.devices if device.gpu.kind == "mig"]
        return _only([(device,) for device in slices if _begins(entry, "MIG-", device.names)])
    number = re.match(r"\+?\d+", entry)
    if number is None or int(number[0]) >= len(boards):
        return None
    return boards[int(number[0])].devices


def _begins(entry: str, prefix: str, names: tuple[str, ...]) -> bool:
    # The prefix alone names nothing, not even where there is only one.
    if entry == prefix or not entry.startswith(prefix):
        return False
    return any(name.lower().startswith(entry.lower()) for name in names)


def _only(matches: list[tuple[Device, ...]]) -> tuple[Device, ...] | None:
    """A beginning that fits two devices names none."""
    return matches[0] if len(matches) == 1 else None
