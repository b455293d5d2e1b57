"""`/v1/memory` and its metrics."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ullage.engines.base import Usage
from ullage.http import ServiceInfo, build_app
from ullage.http.gate import ByteGate
from ullage.http.memory import EVENTS, Memory, SteppedDown, kept_peak_bytes, resident_bytes

MIB = 1 << 20


class Service:
    """A lifecycle that is ready at once and has a memory."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    async def start(self, health) -> None:
        self.memory.profile = "cpu-fp32-t512-s512"

    async def stop(self) -> None:
        pass


def metric(text: str, name: str) -> float:
    [value] = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
    return float(value)


async def test_planned_measured_and_what_happened_in_json_and_as_metrics(serve):
    memory = Memory(
        "cuda-bf16-t16384-s8192", {"fixed": 1400 * MIB}, device="cuda:0",
        gpu_ledger={"fixed": 560 * MIB, "weights": 2300 * MIB}, allowance_bytes=70 * MIB,
        stepped_down=[SteppedDown("cuda-bf16-t32768-s8192", "cuda-bf16-t16384-s8192", "out of memory")],
        gate=ByteGate(2 * MIB, 30 * MIB), events=lambda: {"ooms": 3, "splits": 2}, batch_tokens=lambda: (8192, 16384),
        usage=lambda: [Usage("cuda:0", 2900 * MIB, 3000 * MIB, 3100 * MIB)], read=lambda: 1000 * MIB,
    )
    app = build_app(ServiceInfo("ranking", models=("a",)), Service(memory), max_body=1000)
    async with serve(app) as client:
        told = (await client.get("/v1/memory")).json()
        text = (await client.get("/v1/metrics")).text
        assert (await client.get("/v1/metadata")).json()["profile"] == "cpu-fp32-t512-s512"
    assert told["profile"] == "cpu-fp32-t512-s512"
    assert (told["planned_bytes"], told["resident_bytes"]) == (1400 * MIB, 1000 * MIB)
    assert told["headroom_bytes"] == 400 * MIB
    assert told["ceiling_bytes"] == 1470 * MIB
    assert told["peak_bytes"] >= 1000 * MIB
    assert told["gpu"] == {
        "ledger": {"fixed": 560 * MIB, "weights": 2300 * MIB}, "planned_bytes": 2860 * MIB, "used_bytes": 2900 * MIB,
        "peak_bytes": 3000 * MIB, "headroom_bytes": -40 * MIB,
        "engines": [{"device": "cuda:0", "used_bytes": 2900 * MIB, "peak_bytes": 3000 * MIB,
                     "limit_bytes": 3100 * MIB}],
    }
    assert told["batch_tokens"] == {"cap": 8192, "planned": 16384}
    assert told["bodies"] == {"capacity_bytes": 2 * MIB, "alone_bytes": 30 * MIB, "held_bytes": 0, "refused": 0}
    assert told["events"] == {"ooms": 3, "splits": 2}
    assert told["stepped_down"][0]["reason"] == "out of memory"
    assert metric(text, "ullage_memory_planned_bytes") == 1400 * MIB
    assert metric(text, "ullage_memory_headroom_bytes") == 400 * MIB
    assert metric(text, "ullage_memory_gpu_used_bytes") == 2900 * MIB
    assert metric(text, "ullage_memory_ooms_total") == 3
    assert metric(text, "ullage_memory_stepped_down") == 1
    assert metric(text, "ullage_batch_tokens_cap") == 8192
    assert metric(text, "ullage_batch_tokens_planned") == 16384
    assert metric(text, "ullage_bodies_refused_total") == 0
    assert all(metric(text, f"ullage_memory_{name}_total") >= 0 for name in EVENTS)


async def test_a_service_without_a_gpu_or_a_gate_has_neither(serve):
    app = build_app(ServiceInfo("test", ledger={"fixed": 5}), Service(Memory("cpu", {"fixed": 5})), max_body=1000)
    async with serve(app) as client:
        told = (await client.get("/v1/memory")).json()
    assert (told["gpu"], told["bodies"], told["batch_tokens"]) == (None, None, None)
    assert told["planned_bytes"] == 5
    assert told["resident_bytes"] > MIB


def test_the_process_alone_is_what_the_system_says():
    """Without its children, whom another test's fixture may still have."""
    status = Path("/proc/self/status").read_text()
    [kilobytes] = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
    assert resident_bytes() == pytest.approx(int(kilobytes) * 1024, rel=0.2)
    assert kept_peak_bytes() >= 0.9 * resident_bytes()


def test_where_the_system_keeps_no_peak_the_highest_seen_counts(tmp_path):
    assert kept_peak_bytes(tmp_path / "status") == 0
    (tmp_path / "status").write_text("VmRSS:\t 5 kB\n")
    assert kept_peak_bytes(tmp_path / "status") == 0
    (tmp_path / "status").write_text("Name:\tx\nVmHWM:\t  77 kB\n")
    assert kept_peak_bytes(tmp_path / "status") == 77 * 1024
    sizes = iter([10, 1 << 50, 30])
    memory = Memory(read=lambda: next(sizes))
    assert [memory.resident_bytes() for _ in range(3)] == [10, 1 << 50, 30]
    assert memory.peak_bytes == 1 << 50
