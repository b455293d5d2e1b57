"""Prometheus series every server has. Each app owns its registry, so that two can live in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


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
