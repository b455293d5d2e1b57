"""`ullage deploy env`: what `deploy/compose/stack.yaml` takes from the plan."""

from __future__ import annotations

from ullage.plan import Plan
from ullage.stack.deploy.limits import limit_bytes


def compose_environment(plan: Plan) -> dict[str, str]:
    """A budget and a container limit for every service, in bytes; for one on a GPU the bytes it has there."""
    found: dict[str, str] = {}
    for planned in plan.services:
        name = planned.service.upper()
        found[f"ULLAGE_{name}_MEMORY"] = str(planned.ledger.total)
        found[f"{name}_LIMIT"] = str(limit_bytes(planned))
        if planned.service in ("ranking", "embedding"):
            found[f"ULLAGE_{name}_GPU_MEMORY"] = str(planned.gpu_ledger.total if planned.gpu_ledger is not None else 0)
    return found
