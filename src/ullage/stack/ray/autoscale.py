"""Replicas by the work that waits, tokens or pictures, not by requests: one request may be five tokens or a million."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

WAITING, RATE = "ullage_work_waiting", "ullage_work_per_s"
MEASURES = (
    (("ullage_scheduler_queued_tokens", "ullage_scheduler_running_tokens"), "ullage_scheduler_tokens_total",
     "ullage_scheduler_compute_seconds_total"),
    (("ullage_vision_queue_depth",), "ullage_vision_pictures_total", "ullage_vision_compute_seconds_total"),
)
"""Gauges of what waits, and counters of what was done and of the seconds it took: of a scheduler, of a pool."""

WAIT_S = 1.0
"""Seconds of work that may wait at each replica. More of it asks for more replicas, less than half for fewer."""

LESS_SHARE = 0.5
"""Below this share of WAIT_S a replica fewer would do: between the two the number stays as it is."""


def load_of(registry: CollectorRegistry) -> dict[str, float]:
    """Tokens (pictures) admitted and not done, and how many a second of compute so far; nothing before the first."""
    for waits, done, seconds in MEASURES:
        if spent_s := registry.get_sample_value(seconds):
            waiting = sum(registry.get_sample_value(name) or 0.0 for name in waits)
            return {WAITING: waiting, RATE: (registry.get_sample_value(done) or 0.0) / spent_s}
    return {}


def by_work(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """The policy that Serve asks. Delays and bounds are Serve's own."""
    said = context.aggregated_metrics or {}
    return wanted(said.get(WAITING, {}).values(), said.get(RATE, {}), context.target_num_replicas), {}


def wanted(waiting: Iterable[float], rates: Mapping[Any, float], now: int) -> int:
    """As many replicas as do what waits within WAIT_S at the measured rate of one; `now` where nothing is known."""
    measured = [rate for rate in rates.values() if rate > 0]
    if not measured:
        return now
    per_s = sum(measured) / len(measured)
    needed = sum(waiting) / (per_s * WAIT_S)
    if needed > now:
        return math.ceil(needed)
    # One fewer must not have to come back at once.
    return max(1, math.ceil(needed / LESS_SHARE)) if needed < (now - 1) * LESS_SHARE else now
