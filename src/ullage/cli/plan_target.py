"""`ullage plan --target`: how many replicas, how much memory, for a load. And a simulation of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ullage.cli.output import mib, out, print_json, table

if TYPE_CHECKING:
    from ullage.bench.capacity import Sizing, Target

NUMBERS = ("replicas", "cores", "busy", "p99 s", "memory", "GPU memory", "per hour")
GIB = 1 << 30


def show_target(text: str, price: float | None, *, as_json: bool) -> None:
    """The sizing table of a target. Raises SettingsError."""
    from ullage.bench.capacity import SINGLES, parse_target, size, store_bytes

    target = parse_target(text)
    sizes = [size(target, single, price) for single in SINGLES]
    memory, disk = store_bytes(target)
    if as_json:
        print_json({"target": asdict(target), "ranking": [_plain(one) for one in sizes],
                    "vectors": {"memory_bytes": memory, "disk_bytes": disk}})
        return
    console = out()
    console.print(_title(target))
    shown = table("ranking replica", *NUMBERS, right=NUMBERS)
    for one in sizes:
        shown.add_row(one.single.name, *_cells(one))
    console.print(shown)
    for one in sizes:
        console.print(f"{one.single.name}: {one.single.passages_per_s:g} passages/s of one replica: "
                      f"{one.single.source}", markup=False)
    if target.chunks:
        console.print(f"vectors: {target.chunks:,} chunks of {target.dimension} dimensions are {memory / GIB:,.0f} GiB "
                      f"of vectors, which Milvus holds in memory, and {disk / GIB:,.0f} GiB with their texts; what "
                      "Milvus keeps beside them comes on top")


def _title(target: Target) -> str:
    return (f"{target.passages_per_s:,.0f} passages/s of {target.tokens} tokens, {target.passages} a request, 99 of "
            f"100 answered within {target.wait_s:g} s")


def _cells(one: Sizing) -> tuple[str, ...]:
    if one.replicas is None:
        return ("none", "", "", f"{one.p99_s:.2f} alone", "", "", "")
    cost = "" if one.cost_per_hour is None else f"{one.cost_per_hour:,.2f}"
    return (f"{one.replicas:,}", f"{one.replicas * one.single.cores:,}", f"{one.busy:.0%}", f"{one.p99_s:.2f}",
            mib(one.memory_bytes), mib(one.gpu_bytes) if one.gpu_bytes else "", cost)


def _plain(one: Sizing) -> dict[str, Any]:
    return asdict(one)
