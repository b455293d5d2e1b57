"""Prometheus series every server has. Each app owns its registry, so that two can live in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from ullage.http.tracing import trace_phases


class HttpMetrics:
    """Requests by route, method and status, and their seconds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "ullage_http_requests", "Requests answered", ["route", "method", "status"], registry=registry
        )
        self._seconds = Histogram(
            "ullage_http_request_seconds", "Time to the end of the answer", ["route"], registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
        )

    def observe(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class PhaseMetrics:
    """Seconds of each phase of a request: tokenize, queue, compute."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "ullage_phase_seconds", "Time in one phase of a request", ["phase"], registry=registry,
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
        )

    def observe(self, seconds: Mapping[str, float]) -> None:
        for phase, value in seconds.items():
            self._seconds.labels(phase).observe(value)
        trace_phases(seconds)


class Inferences(Collector):
    """The series of Triton that dashboards of a NIM read, by its own names: rows, requests and microseconds of a model.

    `batches` counts executions. Triton gives counters no `_total`, so these are of no stated type.
    """

    def __init__(self, registry: CollectorRegistry, model: str, batches: Callable[[], float]) -> None:
        self._labels = {"model": model, "version": "1"}
        self._batches = batches
        self._pending = 0
        self._sums = dict.fromkeys(
            ("request_success", "request_failure", "count", "request_duration_us", "queue_duration_us",
             "compute_infer_duration_us"), 0.0)
        registry.register(self)

    @contextmanager
    def one(self, rows: int) -> Iterator[Callable[[float, float], None]]:
        """Counts a request; what it yields is told the seconds of queue and compute when it succeeds."""
        begun = time.perf_counter()
        self._pending += 1
        succeeded = False

        def done(queue_s: float, compute_s: float) -> None:
            nonlocal succeeded
            succeeded = True
            self._add(request_success=1, count=rows, queue_duration_us=queue_s * 1e6,
                      compute_infer_duration_us=compute_s * 1e6)

        try:
            yield done
        finally:
            self._pending -= 1
            self._add(request_failure=0 if succeeded else 1, request_duration_us=(time.perf_counter() - begun) * 1e6)

    def _add(self, **amounts: float) -> None:
        for name, amount in amounts.items():
            self._sums[name] += amount

    def collect(self) -> Iterator[Metric]:
        values = {**self._sums, "exec_count": self._batches(), "pending_request_count": float(self._pending)}
        for name, value in values.items():
            family = Metric(f"nv_inference_{name}", f"Triton's {name.replace('_', ' ')}", "unknown")
            family.add_sample(family.name, self._labels, value)
            yield family


def gauge(registry: CollectorRegistry, name: str, text: str, read: Callable[[], float]) -> None:
    """A gauge read at scrape time."""
    Gauge(name, text, registry=registry).set_function(read)


def counter(registry: CollectorRegistry, name: str, text: str, read: Callable[[], float]) -> None:
    """A counter that something else keeps, read at scrape time."""
    registry.register(_Read(name, text, read))


class _Read(Collector):
    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(self._name, self._text, value=self._read())
