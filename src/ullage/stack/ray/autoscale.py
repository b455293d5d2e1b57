"""Replicas by the tokens that wait, not by requests: one request may be five tokens or a million."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

WAITING, RATE = "ullage_tokens_waiting", "ullage_tokens_per_s"
WAIT_S = 1.0
"""Seconds of work that may wait at each replica. More of it asks for more replicas, less than half for fewer."""

LESS_SHARE = 0.5
"""Below this share of WAIT_S a replica fewer would do: between the two the number stays as it is."""


def load_of(registry: CollectorRegistry) -> dict[str, float]:
    """Tokens admitted and not done, and tokens a second of compute so far; nothing before the first batch."""
    waiting = _value(registry, "queued_tokens") + _value(registry, "running_tokens")
    seconds = _value(registry, "compute_seconds_total")
    if not seconds:
        return {}
    return {WAITING: waiting, RATE: _value(registry, "tokens_total") / seconds}


def _value(registry: CollectorRegistry, name: str) -> float:
    return registry.get_sample_value(f"ullage_scheduler_{name}") or 0.0


def by_tokens(context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """The policy that Serve asks. Delays and bounds are Serve's own."""
    said = context.aggregated_metrics or {}
    return wanted(said.get(WAITING, {}).values(), said.get(RATE, {}), context.target_num_replicas), {}


def wanted(waiting: Iterable[float], rates: Mapping[Any, float], now: int) -> int:
    """As many replicas as do what waits within WAIT_S at the measured rate of one; `now` where nothing is known."""
    measured = [rate for rate in rates.values() if rate > 0]
    if not measured:
        return now
    tokens_per_s = sum(measured) / len(measured)
    needed = sum(waiting) / (tokens_per_s * WAIT_S)
    if needed > now:
        return math.ceil(needed)
    # One fewer must not have to come back at once.
    return max(1, math.ceil(needed / LESS_SHARE)) if needed < (now - 1) * LESS_SHARE else now
