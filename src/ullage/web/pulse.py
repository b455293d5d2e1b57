"""How fast and how busy each service was lately, read from its metrics."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from ullage.clients.once import Once
from ullage.errors import UllageError

EVERY_S = 5.0
POINTS = 60
REQUESTS, SECONDS = "ullage_http_request_seconds_count", "ullage_http_request_seconds_sum"
_QUIET = ("/health", "/metrics", "/v1/memory")
"""Routes that are asked by watchers, this one among them."""

EVENTS = "ullage_memory_"
_NO_EVENTS = ("planned", "resident", "peak", "headroom", "ceiling", "gpu", "stepped_down")


@dataclass(frozen=True, slots=True)
class Look:
    """Totals since the start of a service. `events` counts what it did to stay inside its memory."""

    at_s: float
    requests: float
    seconds: float
    events: Mapping[str, int]


@dataclass(slots=True)
class Trace:
    """`per_second` and `milliseconds` per request in each of the last intervals; None where nothing was asked."""

    per_second: deque[float] = field(default_factory=lambda: deque(maxlen=POINTS))
    milliseconds: deque[float | None] = field(default_factory=lambda: deque(maxlen=POINTS))
    last: Look | None = None

    def add(self, look: Look) -> None:
        before, self.last = self.last, look
        if before is None or look.requests < before.requests:  # started again
            return
        answered = look.requests - before.requests
        self.per_second.append(answered / max(1e-6, look.at_s - before.at_s))
        self.milliseconds.append((look.seconds - before.seconds) / answered * 1e3 if answered else None)


class Pulse:
    """Looks at every service every `every_s` seconds while `run` runs; the traces are the same for every page."""

    def __init__(self, services: Mapping[str, Once], every_s: float = EVERY_S) -> None:
        self._services = services
        self._every_s = every_s
        self.traces = {name: Trace() for name in services}

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        await asyncio.gather(*(self._look_at(name, service) for name, service in self._services.items()))

    async def _look_at(self, name: str, service: Once) -> None:
        """A service that is away leaves a gap, and starts over when it comes back."""
        try:
            text = await service.text("/v1/metrics")
        except UllageError:
            self.traces[name].last = None
            return
        self.traces[name].add(read(text, time.monotonic()))


def read(text: str, at_s: float) -> Look:
    """The totals in a page of metrics; one that is no metrics page has none."""
    requests = seconds = 0.0
    events: dict[str, int] = {}
    for name, labels, value in _samples(text):
        route = labels.get("route", "")
        if name in (REQUESTS, SECONDS) and not any(part in route for part in _QUIET):
            requests += value if name == REQUESTS else 0
            seconds += value if name == SECONDS else 0
        elif name.startswith(EVENTS) and name.endswith("_total"):
            event = name.removeprefix(EVENTS).removesuffix("_total")
            if not event.startswith(_NO_EVENTS):
                events[event] = int(value)
    return Look(at_s, requests, seconds, events)


def _samples(text: str) -> Iterable[tuple[str, Mapping[str, str], float]]:
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                yield sample.name, sample.labels, float(sample.value)
    except ValueError:
        return
