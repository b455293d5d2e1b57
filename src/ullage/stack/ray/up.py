"""A stack some of whose services run on Ray: fronts on the usual ports, the rest as processes beside them."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ullage.errors import SettingsError, Unavailable
from ullage.plan import Plan
from ullage.settings import Effective, Service
from ullage.stack.ray.cluster import Cluster
from ullage.stack.ray.deploy import SERVE_PORT, deployed, run, start_serve, take_away
from ullage.stack.ray.replicas import ON_RAY, Replicas
from ullage.stack.ray.resources import check_one_machine, refuse_what_ray_has_not
from ullage.stack.services import Spec, specs

FRONT_BYTES = 100 << 20
"""Of a front's process: measured 67 MiB at rest, and bodies under way."""

LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class OnRay:
    """What `up --ray` was asked: `replicas` by service; `cpus` are the cores of one replica."""

    replicas: Mapping[Service, Replicas] = field(default_factory=dict)
    cpus: float = 1.0
    port: int = SERVE_PORT

    def services(self, plan: Plan) -> tuple[Service, ...]:
        """Model services always; the RAG server, whose database every node would have to reach, where it is named."""
        here = {planned.service for planned in plan.services}
        if missing := [service for service in self.replicas if service not in here]:
            raise SettingsError(f"--replicas names {missing[0]}, which this stack does not start: leave it out")
        return tuple(s for s in ON_RAY if s in here and (s != "rag" or s in self.replicas))


def check(asked: OnRay, plan: Plan, effective: Effective, *, local: bool) -> None:
    """Raises SettingsError or DoesNotFit before any cluster is started or joined."""
    on_ray = asked.services(plan)
    settings = effective.settings
    refuse_what_ray_has_not(settings, on_ray)
    if local:
        check_one_machine(plan, dict(asked.replicas))
    elif "rag" in on_ray and (not settings.vectors_uri or not settings.llm_url or settings.api_keys is not None):
        raise SettingsError("rag on a cluster of several machines needs vectors_uri and llm_url that every node "
                            "reaches, and no api_keys: set them, or leave rag out of --replicas, so that it runs here")


def deploy(asked: OnRay, plan: Plan, effective: Effective, cluster: Cluster) -> None:
    """Serve and every application, without waiting until they are ready. Raises what Ray cannot place at all."""
    settings = effective.settings
    if asked.cpus > cluster.cpus:
        raise SettingsError(f"one replica wants {asked.cpus:g} cores and the cluster has {cluster.cpus:g}: lower "
                            "--replica-cpus")
    on_ray = asked.services(plan)
    start_serve(local=cluster.local, port=asked.port)
    if not cluster.local and "rag" in on_ray:
        proxy = proxy_url(asked)
        settings = settings.model_copy(update={f"{s}_url": f"{proxy}/{s}" for s in ("ranking", "embedding")
                                               if s in on_ray and not settings.named_url(s)})
    run([plan[service] for service in on_ray], settings, asked.replicas, asked.cpus)


def proxy_url(asked: OnRay) -> str:
    return f"http://127.0.0.1:{asked.port}"


def specs_beside_ray(asked: OnRay, plan: Plan, effective: Effective, config: Path | None) -> tuple[Spec, ...]:
    """The processes of this machine: a front for each service on Ray, and what does not run there."""
    on_ray = asked.services(plan)
    return tuple(_front(spec, asked) if spec.service in on_ray else spec for spec in specs(plan, effective, config))


def _front(spec: Spec, asked: OnRay) -> Spec:
    command = (sys.executable, "-m", "ullage.stack.ray.serve_front", spec.service, proxy_url(asked))
    environment = {name: value for name, value in spec.environment.items() if name != "ULLAGE_HEADROOM"}
    port = {f"ULLAGE_{spec.service.upper()}_PORT": str(spec.port), "ULLAGE_HOST": spec.host}
    return replace(spec, command=command, profile=f"ray {spec.profile}", ledger={"fixed": FRONT_BYTES}, needs=(),
                   environment=environment | port, alone="")


async def until_failed(asked: OnRay, plan: Plan) -> str:
    """Looks at the applications until one cannot be started at all; why."""
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[str] = loop.create_future()
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            if reason := _failure(asked.services(plan)):
                loop.call_soon_threadsafe(failed.set_result, reason)
                return

    # Ray's calls may hang for a minute when its head is gone, and such a thread must not keep us from stopping.
    threading.Thread(target=look, name="ray applications", daemon=True).start()
    try:
        return await failed
    finally:
        over.set()


def _failure(services: Sequence[Service]) -> str:
    try:
        found = deployed()
    except Unavailable as error:
        return error.message
    failed = [one for one in found if one.service in services and one.state == "DEPLOY_FAILED"]
    return f"{failed[0].service} cannot be started on Ray: {failed[0].reason}" if failed else ""


def stop(asked: OnRay, plan: Plan, cluster: Cluster) -> None:
    """Delete the applications, each drained. A cluster of our own ends with us: its fronts have drained already."""
    if not cluster.local:
        take_away(asked.services(plan))
