"""Is there room for a second process of a service while the first still runs?"""

from __future__ import annotations

from collections.abc import Callable

from ullage.devices import Machine, detect
from ullage.plan import Plan, ServicePlan
from ullage.plan.budget import headroom_bytes
from ullage.plan.profile import mebibytes
from ullage.settings import Service, Settings


def no_room(plan: Plan, settings: Settings, service: Service, look: Callable[[], Machine] = detect) -> str:
    """Why the plan's budget, or the memory that is free now, does not hold both; empty when it does."""
    planned = plan[service]
    return _over_budget(plan, planned) or _not_free(planned, settings, look())


def _over_budget(plan: Plan, planned: ServicePlan) -> str:
    needed = planned.ledger.total
    left = plan.budget_bytes - plan.total_bytes
    if needed > left:
        return (f"a second {planned.service} takes {mebibytes(needed)}, and beside the plan the budget "
                f"({plan.budget_source}) has {mebibytes(max(0, left))}")
    for gpu in planned.gpus if planned.gpu_ledger is not None else ():
        left = plan.budget.gpus[gpu.index].size - plan.gpu_bytes(gpu.index)
        if planned.gpu_ledger is not None and planned.gpu_ledger.total > left:
            return (f"a second {planned.service} takes {mebibytes(planned.gpu_ledger.total)} of GPU {gpu.index}, and "
                    f"beside the plan its budget has {mebibytes(max(0, left))}")
    return ""


def _not_free(planned: ServicePlan, settings: Settings, machine: Machine) -> str:
    left = machine.free_bytes - headroom_bytes(settings.headroom, machine.total_bytes)
    if planned.ledger.total > left:
        return (f"a second {planned.service} takes {mebibytes(planned.ledger.total)}, and {mebibytes(max(0, left))} "
                "are free now beside the headroom")
    now = {gpu.index: gpu for gpu in machine.gpus}
    for gpu in planned.gpus if planned.gpu_ledger is not None else ():
        found = now.get(gpu.index)
        left = found.free_bytes - headroom_bytes(settings.gpu_headroom, found.total_bytes) if found is not None else 0
        if planned.gpu_ledger is not None and planned.gpu_ledger.total > left:
            return (f"a second {planned.service} takes {mebibytes(planned.gpu_ledger.total)} of GPU {gpu.index}, and "
                    f"{mebibytes(max(0, left))} are free there now beside the headroom")
    return ""
