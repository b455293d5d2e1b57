"""What a replica asks of Ray: the plan's bytes as memory, and its share of a GPU."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ullage.errors import DoesNotFit, SettingsError
from ullage.plan import Ledger, Plan, ServicePlan
from ullage.plan.profile import mebibytes, room, sum_text
from ullage.settings import Service, Settings
from ullage.settings.model import prefix_of
from ullage.stack.ray.replicas import ON_RAY, Replicas

WORKER_BYTES = 144 << 20
"""What a process takes more inside a Ray worker. Measured with Ray 2.60 and pandas, which Ray Data needs and Ray Serve
loads where it is: a ranking replica held 421 MiB when ready and 487 after hundreds of requests of 40 passages, the
process alone 280 and 350. Without pandas an idle worker holds 87 to 94 MiB."""

GPU_STEP = 10_000
"""Ray counts a GPU in steps of 1/10,000."""


@dataclass(frozen=True, slots=True)
class Request:
    """Of one replica. `gpus` is a share of one device below 1, or whole devices."""

    cpus: float
    memory_bytes: int
    gpus: float = 0.0

    def options(self) -> dict[str, Any]:
        """As Ray's `ray_actor_options`."""
        asked: dict[str, Any] = {"num_cpus": self.cpus, "memory": self.memory_bytes}
        return asked | ({"num_gpus": self.gpus} if self.gpus else {})


def request_of(planned: ServicePlan, cpus: float) -> Request:
    """What one replica of a planned service takes."""
    return Request(cpus, in_a_worker(planned.ledger).total, _gpu_share(planned))


def in_a_worker(ledger: Ledger) -> Ledger:
    """A process's ledger inside a Ray worker, which is larger before anything of ours is loaded."""
    return replace(ledger, fixed=ledger.fixed + WORKER_BYTES)


def _gpu_share(planned: ServicePlan) -> float:
    """Rounded up, so that two that do not fit in bytes do not fit in shares. Several devices are taken whole."""
    if planned.gpu_ledger is None:
        return 0.0
    if len(planned.gpus) > 1:
        return float(len(planned.gpus))
    return math.ceil(planned.gpu_ledger.total / planned.gpus[0].total_bytes * GPU_STEP) / GPU_STEP


def share(settings: Settings, planned: ServicePlan, cpus: float) -> Settings:
    """The settings of one replica: its bytes are its budget, its cores its threads. It plans again where it runs."""
    service, total = planned.service, in_a_worker(planned.ledger).total
    own: dict[str, Any] = {"memory": None, "headroom": 0, f"{service}_memory": total}
    if planned.card is not None:
        own |= {"threads": settings.threads or max(1, math.floor(cpus))}
    if planned.gpu_ledger is not None:
        # Ray shows a replica its own devices alone, and numbers them from 0.
        own |= {"gpu_headroom": 0, "gpu_memory": None, f"{service}_gpu_memory": planned.gpu_ledger.total,
                f"{service}_device": ",".join(f"cuda:{place}" for place in range(len(planned.gpus)))}
    return settings.model_copy(update=own)


def check_one_machine(plan: Plan, replicas: dict[Service, Replicas]) -> None:
    """Raises DoesNotFit when all replicas that there may be at once are more than this machine's budget."""
    parts = [(_several(planned.service, replicas), _bytes(planned, replicas)) for planned in plan.services]
    needed = sum(size for _, size in parts)
    if needed > plan.budget_bytes:
        raise DoesNotFit(
            f"{sum_text(parts)} = {mebibytes(needed)} do not fit into {room(plan.budget_bytes)} "
            f"({plan.budget_source}): lower --replicas, or give --ray the address of a larger cluster",
            needed_bytes=needed, budget_bytes=plan.budget_bytes)


def _several(service: Service, replicas: dict[Service, Replicas]) -> str:
    most = replicas.get(service, Replicas()).most
    return f"{most} x {service}" if most > 1 else service


def _bytes(planned: ServicePlan, replicas: dict[Service, Replicas]) -> int:
    if planned.service not in ON_RAY:
        return planned.ledger.total
    return in_a_worker(planned.ledger).total * replicas.get(planned.service, Replicas()).most


def refuse_what_ray_has_not(settings: Settings, services: Iterable[Service]) -> None:
    """Raises SettingsError for a setting that would have no effect behind Ray's proxy."""
    for service in services:
        for prefix in map(prefix_of, settings.tasks) if service == "vision" else (service,):
            if getattr(settings, f"{prefix}_grpc_port", None) is not None:
                raise SettingsError(f"{prefix}_grpc_port is set, and Ray's proxy carries HTTP alone: leave it out, or "
                                    f"run {service} without --ray")
