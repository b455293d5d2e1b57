"""Put services onto a cluster as Serve applications, hear how they are, and take them away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ullage.errors import Unavailable
from ullage.plan import ServicePlan
from ullage.settings import Service, Settings
from ullage.stack.ray.autoscale import by_work
from ullage.stack.ray.replica import Replica
from ullage.stack.ray.replicas import Replicas
from ullage.stack.ray.resources import request_of, share
from ullage.stack.services import drain_s

SERVE_PORT = 8010
"""Of Serve's own HTTP proxy, behind the fronts. Its default of 8000 is the port of page-elements here."""

UPSCALE_S, DOWNSCALE_S, LOOK_BACK_S, REPORT_S = 2.0, 60.0, 5.0, 1.0
HEALTH_PERIOD_S = 5.0

SPREAD = {"RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0"}
"""A proxy else sends all it has to the replicas of its own node until they refuse, which ours do late: with one proxy
and 4 replicas on several nodes, throughput was that of one replica."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """How an application is; `reason` is what Ray says of it, in one line."""

    service: str
    state: str
    replicas: int
    reason: str = ""

    @property
    def failed(self) -> bool:
        return self.state in ("DEPLOY_FAILED", "UNHEALTHY")


def application(planned: ServicePlan, settings: Settings, replicas: Replicas, cpus: float) -> Any:
    """A Serve application of one service, to be run under `/SERVICE`."""
    from ray import serve

    count: dict[str, Any] = {"num_replicas": replicas.least}
    if not replicas.fixed:
        count = {"autoscaling_config": autoscaling(replicas)}
    deployment = serve.deployment(serve.ingress()(Replica)).options(
        name=planned.service,
        ray_actor_options=request_of(planned, cpus).options(),
        # Our scheduler queues and refuses by tokens; Serve need not do it by requests.
        max_ongoing_requests=settings.queue_requests + 64,
        health_check_period_s=HEALTH_PERIOD_S,
        graceful_shutdown_timeout_s=drain_s(planned.service, settings),
        **count,
    )
    return deployment.bind(planned.service, share(settings, planned, cpus))


def autoscaling(replicas: Replicas) -> dict[str, Any]:
    """Serve's autoscaling, deciding by tokens that wait."""
    from ray.serve.config import AutoscalingPolicy

    return {"min_replicas": replicas.least, "max_replicas": replicas.most, "initial_replicas": replicas.least,
            "upscale_delay_s": UPSCALE_S, "downscale_delay_s": DOWNSCALE_S, "look_back_period_s": LOOK_BACK_S,
            "metrics_interval_s": REPORT_S, "policy": AutoscalingPolicy(policy_function=by_work)}


def start_serve(*, local: bool, port: int = SERVE_PORT) -> None:
    """Serve with its HTTP proxy on the loopback, on every node of a cluster of several machines.

    Where Serve runs already it keeps its own options.
    """
    from ray import serve

    serve.start(proxy_location="HeadOnly" if local else "EveryNode",
                http_options={"host": "127.0.0.1", "port": port, "keep_alive_timeout_s": 60},
                # The controller's own variables are also those of the proxies it starts.
                controller_options={"runtime_env": {"env_vars": SPREAD}})


def run(plans: Sequence[ServicePlan], settings: Settings, replicas: Mapping[Service, Replicas], cpus: float) -> None:
    """Deploy without waiting: `deployed` tells how far it is."""
    from ray import serve

    serve.run_many(
        [serve.RunTarget(application(planned, settings, replicas.get(planned.service, Replicas()), cpus),
                         name=planned.service, route_prefix=f"/{planned.service}") for planned in plans],
        wait_for_applications_running=False,
    )


def deployed() -> list[Deployed]:
    """Every application of ours. Raises Unavailable when Serve's controller does not answer."""
    from ray.exceptions import RayError

    from ray import serve

    try:
        status = serve.status()
    except RayError as error:
        raise Unavailable(f"Ray Serve does not answer: {' '.join(str(error).split())[:200]}") from None
    return [_deployed(name, found) for name, found in status.applications.items()]


def _deployed(name: str, found: Any) -> Deployed:
    [own] = found.deployments.values() if found.deployments else [None]
    running = own.replica_states.get("RUNNING", 0) if own is not None else 0
    said = (own.message if own is not None else "") or found.message
    return Deployed(name, str(getattr(found.status, "value", found.status)), running, _first(said))


def _first(text: str) -> str:
    """Ray puts a traceback around what our code raised; its last line says it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    ours = [line for line in lines if line.startswith("ullage.errors.")]
    return (ours[-1].partition(": ")[2] if ours else " ".join(lines))[:400]


def take_away(services: Sequence[str]) -> None:
    """Delete our applications, each drained; others on the cluster stay."""
    from ray import serve

    for service in services:
        serve.delete(service, _blocking=True)
