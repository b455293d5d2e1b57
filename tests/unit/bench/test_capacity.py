"""Replicas for a load, and the same load through the scheduler's own queue in virtual time."""

from __future__ import annotations

import math

import pytest

from ullage.bench.capacity import SINGLES, Target, p99_s, parse_target, replicas_for, size, store_bytes
from ullage.bench.simulation import Setup, simulate
from ullage.cli.main import main
from ullage.errors import SettingsError

CPU = SINGLES[0]


def test_a_target_is_read_as_it_is_written():
    assert parse_target("2000 passages/s, 50M chunks") == Target(2000, 50_000_000)
    assert parse_target("1.5k passages/s,2 s, 100 tokens, 10 passages/request") == Target(1500, 0, 100, 10, 2.0)


@pytest.mark.parametrize(("text", "said"), [
    ("50M chunks", "give passages/s"), ("2000 passages", "is not understood"), ("", "is not understood"),
    ("0 passages/s", "above 0"), ("1 passages/s, 2 passages/s", "given twice"), ("1.2.3 passages/s", "no number"),
])
def test_what_is_no_target_is_refused_in_one_line(text, said):
    with pytest.raises(SettingsError, match=said):
        parse_target(text)


def test_more_load_never_wants_fewer_replicas():
    counts = [replicas_for(Target(float(rate)), CPU) for rate in (1, 50, 100, 200, 500, 2000, 20_000)]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] * CPU.passages_per_s > 20_000


def test_the_fewest_that_meet_the_target_are_chosen():
    target = Target(2000)
    found = size(target, CPU, price_per_hour=0.1)
    assert found.p99_s <= target.wait_s
    assert found.memory_bytes == found.replicas * CPU.memory_bytes
    assert found.cost_per_hour == pytest.approx(found.replicas * 0.1)
    service_s, per_s = 40 / CPU.passages_per_s, 50.0
    fewer = found.replicas - 1
    assert per_s * service_s / fewer > 0.85 or p99_s(fewer, per_s, service_s) > target.wait_s


def test_one_request_that_alone_takes_longer_is_met_by_no_number():
    assert replicas_for(Target(10, passages=400, wait_s=2.0), CPU) is None
    assert math.isinf(p99_s(2, 10.0, 1.0))


def test_vectors_grow_with_chunks():
    memory, disk = store_bytes(Target(1, 1000))
    assert memory >= 1000 * 384 * 4
    assert disk > memory


@pytest.mark.parametrize(("replicas", "load", "seconds"), [(4, 0.7, 200.0), (34, 0.7, 40.0)])
def test_the_model_is_near_what_the_schedulers_queue_does(replicas, load, seconds):
    service_s = 40 * 200 / 14_220.0
    per_s = replicas * load / service_s
    found = simulate(Setup(replicas, per_s, seconds=seconds, batch_s=0.0))
    assert found.busy == pytest.approx(load, rel=0.2)
    assert found.percentile(0.99) == pytest.approx(p99_s(replicas, per_s, service_s), rel=0.35)


def test_every_request_of_a_simulation_is_answered_and_it_repeats():
    setup = Setup(3, 4.0, seconds=20.0, varied=True)
    first, second = simulate(setup), simulate(setup)
    assert first.requests > 50
    assert (first.requests, first.passages, first.waits_s) == (second.requests, second.passages, second.waits_s)
    assert min(first.waits_s) > 0


def test_the_command_prints_a_table_and_refuses_what_it_cannot_use(capsys):
    assert main(["plan", "--target", "2000 passages/s, 50M chunks", "--price", "0.1"]) == 0
    said = capsys.readouterr().out
    assert "H100 fp8" in said
    assert "50,000,000 chunks" in said
    assert main(["plan", "ranking", "--target", "1 passages/s"]) == 2
    assert "leave it out" in capsys.readouterr().err
    assert main(["plan", "--price", "1"]) == 2
