"""`ullage up --ray`: model services as Ray Serve deployments, everything else as without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ullage.cli.output import out
from ullage.errors import SettingsError, Unavailable

if TYPE_CHECKING:
    from ullage.plan import Plan
    from ullage.settings import Effective
    from ullage.stack.ray.up import OnRay
    from ullage.stack.services import Spec

KeepUp = Callable[["tuple[Spec, ...]", "Plan", "Effective"], Coroutine[Any, Any, None]]


def asked_of(replicas: str | None, cpus: float | None) -> OnRay:
    """What the options ask for. Raises SettingsError."""
    from ullage.stack.ray.replicas import parse_replicas
    from ullage.stack.ray.up import OnRay

    return OnRay(parse_replicas(replicas or ""), 1.0 if cpus is None else cpus)


def refuse_without_ray(replicas: str | None, cpus: float | None) -> None:
    for name, value in (("--replicas", replicas), ("--replica-cpus", cpus)):
        if value is not None:
            raise SettingsError(f"{name} {value} is for services on Ray: add --ray local or --ray ADDRESS")


def as_options(ray: str | None, replicas: str | None, cpus: float | None) -> list[str]:
    """The same, for a process that does it."""
    given = {"--ray": ray, "--replicas": replicas, "--replica-cpus": cpus}
    return [part for name, value in given.items() if value is not None for part in (name, str(value))]


def up_on_ray(address: str, asked: OnRay, plan: Plan, effective: Effective, config: Path | None,
              keep_up: KeepUp) -> None:
    """Deploy, keep fronts and the rest up until a signal, then take away what was deployed."""
    from ullage.stack.ray.cluster import LOCAL, joined
    from ullage.stack.ray.up import check, deploy, specs_beside_ray, stop

    check(asked, plan, effective, local=address == LOCAL)
    processes = specs_beside_ray(asked, plan, effective, config)
    with joined(address) as cluster:
        out().print(f"Ray: {cluster.nodes} node(s), {cluster.cpus:g} cores, {cluster.gpus:g} GPUs; on it: "
                    f"{', '.join(asked.services(plan))}")
        try:
            deploy(asked, plan, effective, cluster)
            asyncio.run(_until_failed(asked, plan, keep_up(processes, plan, effective)))
        finally:
            stop(asked, plan, cluster)


async def _until_failed(asked: OnRay, plan: Plan, keeping: Coroutine[Any, Any, None]) -> None:
    from ullage.stack.ray.up import until_failed

    kept, failed = asyncio.ensure_future(keeping), asyncio.ensure_future(until_failed(asked, plan))
    try:
        done, _ = await asyncio.wait([kept, failed], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (kept, failed):
            task.cancel()
        await asyncio.gather(kept, failed, return_exceptions=True)
    if kept in done:
        kept.result()
    else:
        raise Unavailable(failed.result())
