"""Whether a cluster's workers can reach what they will ask, and what is free for them."""

from __future__ import annotations

from urllib.parse import urlsplit

from ullage.errors import SettingsError
from ullage.settings import LOOPBACK, Service, Settings
from ullage.stack.ray.cluster import Cluster

ASKED_BY_INGESTION: tuple[Service, ...] = ("embedding", "vectors")


def check_reach(cluster: Cluster, settings: Settings) -> None:
    """Raises SettingsError for a URL of this machine alone where the cluster has others."""
    if cluster.machines < 2:
        return
    for service in ASKED_BY_INGESTION:
        url = settings.url(service)
        if urlsplit(url).hostname in LOOPBACK:
            name = "vectors_uri" if service == "vectors" else f"{service}_url"
            raise SettingsError(f"{name} is {url}, which only this machine of {cluster.machines} reaches: set it to "
                                "one that every node does")


def free_cpus() -> float:
    """Cores that nobody on the cluster has asked for. Call it where a cluster is joined."""
    import ray

    return float(ray.available_resources().get("CPU", 0.0))
