"""Sparklines out of metrics, bars out of a plan."""

import httpx
import pytest

from ullage.clients.once import Once
from ullage.web.pulse import POINTS, Look, Pulse, Trace, read
from ullage.web.stack import bars, services, spark
from web_backend import Backend

METRICS = """\
ullage_http_request_seconds_count{route="/v1/ranking"} 10.0
ullage_http_request_seconds_sum{route="/v1/ranking"} 2.0
ullage_http_request_seconds_count{route="/v1/health/ready"} 900.0
ullage_http_request_seconds_sum{route="/v1/metrics"} 90.0
# TYPE ullage_memory_out_of_memory counter
ullage_memory_out_of_memory_total 3.0
# TYPE ullage_memory_planned_bytes gauge
ullage_memory_planned_bytes 3.0
"""


def test_only_what_callers_asked_is_counted():
    assert read(METRICS, 1.0) == Look(1.0, 10.0, 2.0, {"out_of_memory": 3})
    for text in ("", "<html>", "a{b 1", "x 1 2 3 4"):
        assert read(text, 1.0).requests == 0


def test_a_trace_has_rates_and_gaps_and_survives_a_restart():
    trace = Trace()
    for at, requests, seconds in ((0, 10, 1), (5, 20, 2), (10, 20, 2), (15, 3, 0.1), (20, 8, 0.6)):
        trace.add(Look(at, requests, seconds, {}))
    assert list(trace.per_second) == [2.0, 0.0, 1.0]
    assert list(trace.milliseconds) == [pytest.approx(100.0), None, pytest.approx(100.0)]
    for at in range(200):
        trace.add(Look(25 + at, 8, 0.6, {}))
    assert len(trace.per_second) == POINTS


async def test_a_service_that_is_away_leaves_a_gap():
    there = Once("http://there", role="rag", transport=httpx.ASGITransport(Backend().app))
    away = Once("http://127.0.0.1:9", role="llm")
    pulse = Pulse({"rag": there, "llm": away})
    try:
        await pulse.look()
        await pulse.look()
    finally:
        await there.close()
        await away.close()
    assert len(pulse.traces["rag"].per_second) == 1
    assert pulse.traces["rag"].last.events == {"out_of_memory": 2}
    assert pulse.traces["llm"].last is None


def test_a_spark_fills_its_field():
    assert spark([1.0]) is None
    assert spark([0.0, 2.0, 1.0]) == "0.0,26.0 60.0,2.0 120.0,14.0"
    assert spark([0.0, 0.0]) == "0.0,26.0 120.0,26.0"


def test_every_device_has_a_bar_of_who_holds_what():
    host, gpu = bars(Backend().stack())
    assert [piece.service for piece in host.pieces] == ["vectors", "ranking", "embedding", "rag"]
    assert host.pieces[0].unused_share == pytest.approx(1 - 228 / 300)
    ours = sum(piece.measured_bytes for piece in host.pieces)
    assert host.others_bytes + ours + host.free_bytes == host.total_bytes
    assert (gpu.name, gpu.model) == ("cuda:0", "NVIDIA A100-SXM4-80GB")
    assert [(piece.service, piece.predicted_bytes >> 30, piece.measured_bytes) for piece in gpu.pieces] == [
        ("ranking", 3, None)]
    assert gpu.pieces[0].unused_share == 0.0


def test_services_come_with_their_pulse():
    trace = Trace()
    trace.add(Look(0, 0, 0, {}))
    trace.add(Look(5, 10, 1, {"out_of_memory": 2, "split": 0}))
    shown = {one["service"]: one for one in services(Backend().stack()["services"], {"ranking": trace})}
    assert shown["ranking"]["rate_now"] == 2.0
    assert shown["ranking"]["events"] == {"out_of_memory": 2}
    assert shown["vectors"]["latency"] is None
