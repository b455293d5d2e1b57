import asyncio
import os

import pytest

from ullage.devices import Machine
from ullage.errors import SettingsError
from ullage.plan import Ledger, Plan, ServicePlan
from ullage.plan.budget import Budget, Limit
from ullage.settings import load
from ullage.stack.probe import Readiness, probe
from ullage.stack.run import run_stack
from ullage.stack.state import ServiceRecord, read_record
from ullage.stack.status import measured, stack_status

MACHINE = Machine(cores=2, total_bytes=1 << 34, free_bytes=1 << 34, limit="host")
BUDGET = Budget(Limit(1 << 30, "memory"), {})
PLAN = Plan((ServicePlan("ranking", Ledger(64 << 20)),), 1 << 30, "memory", MACHINE, BUDGET)


def on(state_dir):
    return load({"state_dir": state_dir}, environ={})


async def test_a_running_stack_is_measured_and_leaves_nothing_behind(services, tmp_path):
    stop = asyncio.Event()
    good, loading = services.spec("ranking"), services.spec("llm", "loading")
    running = asyncio.create_task(run_stack([good, loading], PLAN, on(tmp_path), stop))
    async with asyncio.timeout(30):
        while not (record := read_record(tmp_path)) or record.services[0].state != "ready":
            await asyncio.sleep(0.02)
        while read_record(tmp_path).services[1].reason != "still loading":
            await asyncio.sleep(0.02)
    found = await stack_status(tmp_path)
    ranking, llm = found.services
    assert (found.running, found.pid, found.budget_bytes, found.budget_source) == (True, os.getpid(), 1 << 30, "memory")
    assert (ranking.ready, ranking.state, ranking.reason, ranking.restarts) == (True, "ready", "", 0)
    assert ranking.pid == services.pids(good)[0]
    assert 1 << 20 < ranking.resident_bytes < 64 << 20
    assert ranking.ratio == round(ranking.resident_bytes / (64 << 20), 3)
    assert (llm.ready, llm.state, llm.reason) == (False, "starting", "still loading")
    assert found.predicted_bytes == 128 << 20
    stop.set()
    await running
    assert not (await stack_status(tmp_path)).running
    assert services.stopped_cleanly(good)


async def test_nothing_is_started_when_a_port_is_taken(services, tmp_path):
    stop = asyncio.Event()
    first = services.spec("ranking")
    running = asyncio.create_task(run_stack([first], PLAN, on(tmp_path / "a"), stop))
    async with asyncio.timeout(30):
        while not (record := read_record(tmp_path / "a")) or record.services[0].state != "ready":
            await asyncio.sleep(0.02)
    other, same_port = services.spec("embedding"), services.spec("rag", port=first.port)
    with pytest.raises(SettingsError, match=f"port {first.port} of rag is held by pid"):
        await run_stack([other, same_port], PLAN, on(tmp_path / "b"), asyncio.Event())
    assert services.pids(other) == []
    assert not (tmp_path / "b" / "logs").exists()
    stop.set()
    await running


def test_the_probe_outranks_what_was_written():
    ready = ServiceRecord("rag", "127.0.0.1", 1, "http", "cpu", {"fixed": 1}, "log", state="ready")
    lost = measured(ready, Readiness(False, "no answer within 3 s"))
    assert (lost.ready, lost.state, lost.reason) == (False, "not ready", "no answer within 3 s")
    assert (lost.resident_bytes, lost.ratio) == (0, None)
    assert measured(ready).ready


async def test_probes_of_what_is_not_there_say_so(services):
    spec = services.spec("rag")
    assert await probe("http", "127.0.0.1", spec.port) == Readiness(False, "not listening yet")
    assert await probe("grpc", "127.0.0.1", spec.port) == Readiness(False, "not listening yet")
