"""Is there room for two of a service at once?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ullage.devices import Gpu, Machine
from ullage.settings import load
from ullage.stack.place import place
from ullage.stack.report import Report
from ullage.stack.room import no_room

GIB = 1 << 30
MACHINE = Machine(cores=2, total_bytes=16 * GIB, free_bytes=15 * GIB, limit="host")
GPU = Gpu(0, "NVIDIA L4", 24 * GIB, 23 * GIB, compute=(8, 9))


def planned(machine=MACHINE, only=("ranking",), **flags):
    effective = load(flags, environ={})
    return place(effective.settings, only, machine), effective


@pytest.mark.parametrize(("memory", "free", "why"), [
    ("2GiB", 15, ""),
    ("400MiB", 15, "beside the plan the budget (memory) has 28 MiB"),
    ("2GiB", 1, "are free now beside the headroom"),
])
def test_the_budget_and_what_is_free_must_hold_both(memory, free, why):
    plan, effective = planned(memory=memory)
    said = no_room(plan, effective.settings, "ranking", lambda: replace(MACHINE, free_bytes=free * GIB))
    assert (why in said) if why else said == ""


@pytest.mark.parametrize(("gpu_memory", "free", "why"), [
    ("20GiB", 23, ""), ("5GiB", 23, "of GPU 0, and beside the plan its budget has"), ("20GiB", 2, "are free there now"),
])
def test_so_must_the_gpu(gpu_memory, free, why):
    machine = replace(MACHINE, gpus=(GPU,))
    model = "nvidia/llama-nemotron-rerank-1b-v2"
    plan, effective = planned(machine, ranking_model=model, gpu_memory=gpu_memory)
    assert plan["ranking"].gpu_ledger is not None
    now = replace(machine, gpus=(replace(GPU, free_bytes=free * GIB),))
    said = no_room(plan, effective.settings, "ranking", lambda: now)
    assert (why in said) if why else said == ""


def test_a_report_holds_every_device_and_no_secret():
    machine = replace(MACHINE, gpus=(GPU,))
    plan, effective = planned(machine, api_keys="very-secret-key")
    told = Report(plan, effective, 1.0, lambda: machine).now([])
    host, gpu = told["plan"]["devices"]
    assert (host["name"], host["total_bytes"], host["free_bytes"]) == ("host", 16 * GIB, 15 * GIB)
    assert (gpu["name"], gpu["headroom_bytes"]) == ("cuda:0", 24 * GIB // 20)
    assert "very-secret-key" not in str(told)
    settings = {setting["name"]: setting for setting in told["settings"]}
    assert settings["api_keys"]["origin"] == "flag"
