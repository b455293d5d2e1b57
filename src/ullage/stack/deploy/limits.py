"""A container's memory limit: what the plan gives the process, and room for what the kernel counts beside it."""

from __future__ import annotations

from ullage.plan import ServicePlan

LEAST_BESIDE_BYTES = 64 << 20
BESIDE_SHARE = 8
"""One part in eight: page cache of files that are read, sockets, the health check. The kernel takes most of it back
before it kills; a process of ours is inside its plan, so the limit is a fence, not a budget."""

MIB = 1 << 20


def limit_bytes(planned: ServicePlan) -> int:
    """In whole MiB."""
    total = planned.ledger.total
    beside = max(total // BESIDE_SHARE, LEAST_BESIDE_BYTES)
    return -(-(total + beside) // MIB) * MIB
