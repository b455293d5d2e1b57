"""What a scheduler counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What the metrics show; all monotonic but `queued_tokens` and `running_tokens`.

    `shared` rows were answered by a computation that another caller had asked for, `cached` ones by the score cache.
    `failures` are batches; `devices_lost` are engines taken out.
    """

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    shared: int = 0
    cached: int = 0
    refused: int = 0
    expired: int = 0
    abandoned: int = 0
    failures: int = 0
    ooms: int = 0
    splits: int = 0
    cap_lowerings: int = 0
    cap_raises: int = 0
    probes: int = 0
    devices_lost: int = 0
    compute_s: float = 0.0
    queued_tokens: int = 0
    running_tokens: int = 0
