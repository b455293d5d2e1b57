"""One Ray cluster of four nodes, simulated by four raylets on this machine, with services on it.

Ray's CPUs are logical here: however many replicas it places, all share the cores of this machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parents[1]))
sys.path.insert(2, str(Path(__file__).parents[1] / "contract"))

from clusters import Served, Simulated, free_port, front

pytest.importorskip("ray.serve", reason="scripts/ray installs it into an environment of its own")

TESTS = Path(__file__).parents[1]

NODES, NODE_CPUS, NODE_BYTES, STORE_BYTES = 4, 2, 3 << 30, 80 << 20


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulated]:
    from ray.cluster_utils import Cluster

    import ray
    from ray import serve
    from ullage.stack.ray.deploy import start_serve

    path = os.pathsep.join([str(TESTS), str(Path(__file__).parent)])  # where workers find paced.py
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "PYTHONPATH": path}
    folder, port = tmp_path_factory.mktemp("ray"), free_port()
    cluster = Cluster(initialize_head=True, head_node_args={
        "num_cpus": NODE_CPUS, "memory": NODE_BYTES, "object_store_memory": STORE_BYTES, "include_dashboard": False})
    try:
        for _ in range(NODES - 1):
            cluster.add_node(num_cpus=NODE_CPUS, memory=NODE_BYTES, object_store_memory=STORE_BYTES)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        start_serve(local=True, port=port)
        yield Simulated(cluster, port, folder)
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="session")
def served(simulated: Simulated) -> Iterator[Served]:
    from ullage.settings import load
    from ullage.stack.place import place
    from ullage.stack.ray.deploy import run, take_away
    from ullage.stack.ray.replicas import Replicas

    effective = load({"memory": "4GiB", "state_dir": str(simulated.folder), "log_level": "WARNING"}, environ={})
    plan = place(effective.settings, ["ranking", "embedding"])
    run([plan["ranking"], plan["embedding"]], effective.settings, {"ranking": Replicas(2, 2)}, 0.5)
    proxy = f"http://127.0.0.1:{simulated.port}"
    with ExitStack() as opened:
        opened.callback(take_away, ["ranking", "embedding"])
        fronts = {service: opened.enter_context(front(service, proxy, simulated.folder))
                  for service in ("ranking", "embedding")}
        yield Served(fronts, proxy, simulated.nodes)
