"""Counts of replicas, what each asks of Ray, and how many the tokens that wait ask for."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from ullage.devices import Machine, find_machine
from ullage.errors import DoesNotFit, SettingsError
from ullage.settings import load
from ullage.stack.place import place, place_one
from ullage.stack.ray.autoscale import RATE, WAITING, by_work, load_of, wanted
from ullage.stack.ray.replicas import Replicas, parse_replicas
from ullage.stack.ray.resources import (
    WORKER_BYTES,
    check_one_machine,
    refuse_what_ray_has_not,
    request_of,
    share,
)
from ullage.stack.ray.up import OnRay, check, specs_beside_ray

MACHINE = Machine(cores=8, total_bytes=16 << 30, free_bytes=16 << 30, limit="host")
BIG = "nvidia/llama-nemotron-rerank-1b-v2"


def effective(**flags):
    return load({"memory": "6GiB", **flags}, environ={})


def test_counts_and_ranges():
    assert parse_replicas("ranking=2, embedding=1..4") == {"ranking": Replicas(2, 2), "embedding": Replicas(1, 4)}
    assert parse_replicas("") == {}


@pytest.mark.parametrize(("text", "said"), [
    ("llm=2", "llm does not run on Ray"), ("ranking", "write ranking=2"), ("ranking=two", "write ranking=2"),
    ("ranking=0", "from 1 to 1000"), ("ranking=4..1", "the smaller one first"),
    ("ranking=1,ranking=2", "named twice"), ("ranking=1..4000", "from 1 to 1000"),
])
def test_what_is_no_count_is_refused(text, said):
    with pytest.raises(SettingsError, match=said):
        parse_replicas(text)


def test_a_replica_asks_for_the_bytes_of_the_plan_and_plans_inside_them():
    settings = effective().settings
    planned = place(settings, ["ranking"], MACHINE)["ranking"]
    asked = request_of(planned, 2.0)
    assert asked.options() == {"num_cpus": 2.0, "memory": planned.ledger.total + WORKER_BYTES}
    own = share(settings, planned, 2.0)
    assert (own.ranking_memory, own.threads, own.headroom) == (asked.memory_bytes, 2, 0)
    inside = own.model_copy(update={"ranking_memory": own.ranking_memory - WORKER_BYTES})
    assert place_one(inside, "ranking", MACHINE)["ranking"].profile == planned.profile


def test_a_gpu_is_shared_by_bytes_rounded_up():
    machine = find_machine("l4-24gb")
    planned = place_one(load({"ranking_model": BIG}, service="ranking", environ={}).settings, "ranking",
                        machine)["ranking"]
    asked = request_of(planned, 1.0)
    total = machine.gpus[0].total_bytes
    assert planned.gpu_ledger.total <= asked.gpus * total < planned.gpu_ledger.total + total / 5_000
    own = share(load({}, environ={}).settings, planned, 1.0)
    assert (own.ranking_device, own.ranking_gpu_memory) == ("cuda:0", planned.gpu_ledger.total)


def test_replicas_that_this_machine_cannot_hold_are_refused_before_anything_starts():
    found = effective()
    plan = place(found.settings, ["ranking", "embedding"], MACHINE)
    check_one_machine(plan, {"ranking": Replicas(1, 2)})
    with pytest.raises(DoesNotFit, match=r"100 x ranking .* lower --replicas"):
        check_one_machine(plan, {"ranking": Replicas(1, 100)})


def test_what_would_have_no_effect_on_ray_is_refused():
    with pytest.raises(SettingsError, match="carries HTTP alone"):
        refuse_what_ray_has_not(effective(ranking_grpc_port=50051).settings, ["ranking"])
    with pytest.raises(SettingsError, match=r"ocr_grpc_port is set.* run vision without --ray"):
        refuse_what_ray_has_not(effective(ocr_grpc_port=8011).settings, ["vision"])
    refuse_what_ray_has_not(effective(ocr_grpc_port=8011).settings, ["ranking"])
    plan = place(effective().settings, ["ranking"], MACHINE)
    with pytest.raises(SettingsError, match="names embedding, which this stack does not start"):
        check(OnRay({"embedding": Replicas()}), plan, effective(), local=True)
    whole = place(effective().settings, ["ranking", "embedding", "rag", "vectors"], MACHINE)
    with pytest.raises(SettingsError, match="vectors_uri and llm_url"):
        check(OnRay({"rag": Replicas()}), whole, effective(), local=False)


def test_fronts_stand_on_the_ports_of_what_runs_on_ray():
    found = effective(ranking_port=11976, host="127.0.0.1")
    plan = place(found.settings, ["vectors", "ranking", "embedding", "rag"], MACHINE)
    made = {spec.service: spec for spec in specs_beside_ray(OnRay(), plan, found, None)}
    assert made["ranking"].command[1:] == ("-m", "ullage.stack.ray.serve_front", "ranking", "http://127.0.0.1:8010")
    assert made["ranking"].port == 11976
    assert made["rag"].command[1:4] == ("-m", "ullage", "serve")
    with_vision = place(effective(enable_vision=True).settings, ["vision"], MACHINE)
    [seeing] = specs_beside_ray(OnRay(), with_vision, effective(enable_vision=True), None)
    assert seeing.command[1:4] == ("-m", "ullage.stack.ray.serve_front", "vision")
    assert (seeing.port, seeing.more_ports) == (8000, (8003, 8006, 8012))
    with_rag = {spec.service: spec for spec in specs_beside_ray(OnRay({"rag": Replicas()}), plan, found, None)}
    assert "ullage.stack.ray.serve_front" in with_rag["rag"].command


@pytest.mark.parametrize(("waiting", "now", "replicas"), [
    ([0, 0], 2, 1), ([500], 1, 1), ([1001], 1, 2), ([3000, 900], 2, 4), ([1500, 0], 2, 2), ([400, 0], 2, 1),
    ([10_000], 1, 10),
])
def test_tokens_that_wait_ask_for_replicas(waiting, now, replicas):
    rates = dict.fromkeys(range(now), 1000.0)
    assert wanted(waiting, rates, now) == replicas


def test_many_requests_of_few_tokens_ask_for_no_more():
    context = SimpleNamespace(aggregated_metrics={WAITING: {"a": 640.0}, RATE: {"a": 7000.0}}, target_num_replicas=1,
                              total_num_requests=128)
    assert by_work(context) == (1, {})
    context.aggregated_metrics = None
    context.target_num_replicas = 3
    assert by_work(context) == (3, {})


def test_the_load_of_a_replica_is_read_from_its_metrics():
    registry = CollectorRegistry()
    assert load_of(registry) == {}
    for name, value in (("queued_tokens", 300), ("running_tokens", 100)):
        Gauge(f"ullage_scheduler_{name}", "x", registry=registry).set(value)
    Counter("ullage_scheduler_tokens", "x", registry=registry).inc(5000)
    Counter("ullage_scheduler_compute_seconds", "x", registry=registry).inc(2)
    assert load_of(registry) == {WAITING: 400.0, RATE: 2500.0}


def test_the_load_of_vision_is_in_pictures():
    registry = CollectorRegistry()
    Gauge("ullage_vision_queue_depth", "x", registry=registry).set(12)
    Counter("ullage_vision_pictures", "x", registry=registry).inc(30)
    Counter("ullage_vision_compute_seconds", "x", registry=registry).inc(10)
    assert load_of(registry) == {WAITING: 12.0, RATE: 3.0}
