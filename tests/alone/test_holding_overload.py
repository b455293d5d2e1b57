"""The measurements of `ullage bench load` above an engine of known speed, for seconds; `make chaos` does it in full."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dummies import start_dummy
from processes import Service, wait_ready
from ullage.bench import load
from ullage.bench.load_fairness import measure_fairness
from ullage.bench.load_leave import measure_drained, measure_left
from ullage.bench.load_overload import measure_overload

pytestmark = pytest.mark.usefixtures("model_cache")


@contextmanager
def dummy(folder: Path, **environment: str) -> Iterator[Service]:
    service = start_dummy(folder / "server.log", tokens_per_s=10_000, **environment)
    try:
        wait_ready(service)
        yield service
    finally:
        service.process.kill()
        service.process.wait()


async def test_goodput_stays_and_the_rest_is_refused_at_once(tmp_path: Path):
    with dummy(tmp_path, ULLAGE_QUEUE_TOKENS="24000") as service:
        found = await measure_overload(service.url, factor=3.0, seconds=15.0, closed_s=5.0)
    print(found, found.share)
    assert found.failed == 0, (found.lost, found.statuses)
    assert found.checked > 5
    assert found.wrong == 0
    assert found.bare == 0
    assert found.statuses[503] >= 30
    assert found.statuses[200] >= 30
    # The calls that end in ten seconds are few, and of 5 to 100 passages: `make chaos` asks for 95 %.
    assert found.share >= 0.75
    assert found.refusal_p50_s < 0.5
    assert found.last_resident_bytes <= found.first_resident_bytes + (32 << 20)
    assert found.drained_s < 10
    assert found.small_s < 3


async def test_a_small_client_beside_a_large_one(tmp_path: Path):
    with dummy(tmp_path) as service:
        found = await measure_fairness(service.url, calls=40)
    assert found.holds, found
    assert found.batch_s > 0.05, "the large client was not there"


async def test_clients_that_leave_leave_nothing_behind(tmp_path: Path):
    with dummy(tmp_path) as service:
        found = await measure_left(service.url, clients=200)
    assert found.later_tokens == 0
    assert found.held_bytes == 0
    assert found.idle_s < 10
    assert found.computed_tokens < found.asked_tokens / 2
    assert found.answered_afterwards == 5


async def test_a_service_that_is_told_to_stop_finishes_first(tmp_path: Path):
    with dummy(tmp_path, ULLAGE_QUEUE_TOKENS="100000") as service:
        found = await measure_drained(load.Service(service.process, service.url, service.log), clients=40)
    assert found.lost == []
    assert found.wrong == 0
    assert found.accepted_tokens > 10_000
    assert found.statuses[200] > 0
    assert set(found.statuses) <= {200, 503}
    assert found.exit_code in (0, -signal.SIGTERM)
