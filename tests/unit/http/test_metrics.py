"""Series of a model's requests, by the names that dashboards of a NIM read."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ullage.http.metrics import Inferences


def read(registry):
    lines = [line.rsplit(" ", 1) for line in generate_latest(registry).decode().splitlines() if line[0] != "#"]
    return {name.partition("{")[0]: float(value) for name, value in lines}


def test_requests_rows_and_microseconds_are_counted_by_tritons_names():
    registry = CollectorRegistry()
    inferences = Inferences(registry, "a_model", lambda: 3.0)
    with inferences.one(40) as done:
        assert read(registry)["nv_inference_pending_request_count"] == 1
        done(0.5, 2.0)
    with pytest.raises(ZeroDivisionError), inferences.one(7):
        raise ZeroDivisionError
    found = read(registry)
    assert found.pop("nv_inference_request_duration_us") > 0
    assert found == {
        "nv_inference_request_success": 1, "nv_inference_request_failure": 1, "nv_inference_count": 40,
        "nv_inference_exec_count": 3, "nv_inference_queue_duration_us": 500_000,
        "nv_inference_compute_infer_duration_us": 2_000_000, "nv_inference_pending_request_count": 0}
    assert 'nv_inference_count{model="a_model",version="1"} 40.0' in generate_latest(registry).decode()
