"""The parts of the measurement of several GPUs that need none: its rows, its flood, a loss, its table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from scheduling import scheduling
from ullage.bench import gpu_devices
from ullage.bench.gpu_devices import DevicesReport, calls_for, fail_after, flood, measure_devices
from ullage.bench.gpu_report import Findings, markdown
from ullage.bench.gpu_service import LONGEST_TOKENS, PASSAGES
from ullage.engines.dummy import DummyEngine
from ullage.errors import SettingsError


def test_every_caller_has_rows_of_its_own() -> None:
    first, second = calls_for(1000, 2)
    assert len(first) == len(second) == PASSAGES
    assert all(16 <= row.tokens <= LONGEST_TOKENS and row.input_ids.max() < 1000 for row in first)
    assert [row.tokens for row in first] != [row.tokens for row in second]
    assert [row.tokens for row in first] == [row.tokens for row in calls_for(1000, 1)[0]]


async def test_the_rows_of_an_engine_that_fails_are_computed_by_the_other() -> None:
    async with scheduling([DummyEngine(), DummyEngine()], max_batch_tokens=2048, queue_tokens=1 << 22) as scheduler:
        encoder: Any = SimpleNamespace(scheduler=scheduler)
        fail_after(encoder, 1)
        answered, failed = await flood(encoder, calls_for(1000, 4), 0.2)
        assert failed == 0
        assert answered >= 4
        assert scheduler.counters.devices_lost == 1
        assert scheduler.devices[-1].state == "lost"


def test_one_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(gpu_devices, "apart", lambda call, *given: call(*given))
    monkeypatch.setattr(gpu_devices, "_count", lambda: 1)
    with pytest.raises(SettingsError, match="needs two GPUs, this machine has 1"):
        measure_devices(tmp_path, tmp_path, lambda _: None)


def test_the_table_has_the_ratio() -> None:
    found = DevicesReport("cuda-bf16-t16384-s8192", 2, 1000.0, 1950.0, {"calls_answered": 12, "devices_lost": 1})
    assert "| cuda-bf16-t16384-s8192 | 2 | 1000 | 1950 | 1.95 | calls answered 12, devices lost 1 |" in markdown(
        Findings(devices=[found]))
