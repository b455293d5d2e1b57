"""The Ray cluster that a stack's replicas run on: one that is there, or one of this machine that ends with us."""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ullage.errors import SettingsError, Unavailable

LOCAL = "local"
OBJECT_STORE_BYTES = 100 << 20
"""Requests pass from actor to actor; only a body of many MiB goes through the store."""

NO_RAY = "--ray needs Ray: pip install 'ullage[ray]'"


@dataclass(frozen=True, slots=True)
class Cluster:
    """`local` is a cluster of this machine alone. Resources are those of all nodes that are alive; several nodes may be
    on one of the `machines`."""

    local: bool
    nodes: int
    cpus: float
    gpus: float
    memory_bytes: int
    machines: int = 1


def has_ray() -> bool:
    """Ray with Serve, and not some folder of that name."""
    return importlib.util.find_spec("ray") is not None and importlib.util.find_spec("ray.serve") is not None


@contextmanager
def joined(address: str, *, cpus: int | None = None) -> Iterator[Cluster]:
    """Connected to a cluster inside the block; one that was started for it is stopped after it.

    Raises SettingsError without Ray, Unavailable when nothing answers at `address`.
    """
    if not has_ray():
        raise SettingsError(NO_RAY)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports to its makers unless told not to
    import ray

    local = address == LOCAL
    own: dict[str, Any] = {"num_cpus": cpus, "object_store_memory": OBJECT_STORE_BYTES} if local else {}
    try:
        ray.init(address=LOCAL if local else address, include_dashboard=False, logging_level=logging.WARNING,
                 log_to_driver=False, namespace="ullage", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise Unavailable(f"no Ray cluster answers at {address} ({' '.join(str(error).split())[:200]}): start one with "
                          "`ray start --head`, give its address, or say --ray local") from None
    try:
        yield _cluster(local)
    finally:
        ray.shutdown()


def _cluster(local: bool) -> Cluster:
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    total: dict[str, float] = ray.cluster_resources()
    return Cluster(local, len(alive), total.get("CPU", 0.0), total.get("GPU", 0.0), int(total.get("memory", 0)),
                   len({node["NodeManagerAddress"] for node in alive}))
