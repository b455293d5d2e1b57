"""The commands of `ullage bench load` in full, on the default model: minutes each."""

import json
import subprocess
import sys
from typing import Any

import pytest

from processes import clean_environment

pytestmark = pytest.mark.usefixtures("model_cache")


def bench_load(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "ullage", "bench", "load", *arguments, "--json"]
    ran = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    print(ran.stdout)
    return json.loads(ran.stdout)


@pytest.mark.timeout(900)
def test_a_small_client_beside_a_large_one():
    found = bench_load("fairness")
    assert found["large_answers"] >= 1
    assert found["loaded_p99_s"] <= 3 * found["unloaded_p99_s"] + found["batch_s"]


@pytest.mark.timeout(1200)
def test_five_minutes_of_three_times_the_capacity():
    found = bench_load("overload")
    assert found["failed"] == found["wrong"] == found["bare"] == 0, found["lost"]
    assert found["statuses"].get("503", 0) > 0
    assert found["share"] >= 0.95
    assert found["refusal_p99_s"] < 1.0
    assert found["last_resident_bytes"] <= found["first_resident_bytes"] + (16 << 20)
    assert found["recovered_p50_s"] <= 1.5 * found["alone_p50_s"]


@pytest.mark.timeout(600)
def test_a_thousand_clients_that_leave():
    found = bench_load("leave")
    assert found["later_tokens"] == 0
    assert found["idle_s"] < 5
    assert found["held_bytes"] == 0
    assert found["computed_tokens"] < found["asked_tokens"] / 2
    assert found["answered_afterwards"] == 5


@pytest.mark.timeout(600)
def test_sigterm_under_load():
    found = bench_load("drain")
    assert found["lost"] == []
    assert found["wrong"] == 0
    assert found["statuses"].get("200", 0) > 0
    assert set(found["statuses"]) <= {"200", "503"}
    assert found["exit_code"] == 0
