"""One Ray cluster of four nodes, simulated by four raylets on this machine, with ranking and embedding on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("ray.serve", reason="scripts/ray installs it into an environment of its own")

NODES, NODE_CPUS, NODE_BYTES, STORE_BYTES = 4, 1, 2 << 30, 80 << 20


@dataclass
class Served:
    """`fronts` are URLs by service, `proxy` is Serve's own, `cluster` takes nodes away and adds them."""

    fronts: dict[str, str]
    proxy: str
    cluster: Any


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from ray.cluster_utils import Cluster

    import ray
    from ray import serve
    from ullage.settings import load
    from ullage.stack.place import place
    from ullage.stack.ray.deploy import run, start_serve
    from ullage.stack.ray.replicas import Replicas

    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    folder = tmp_path_factory.mktemp("ray")
    port = free_port()
    cluster = Cluster(initialize_head=True, head_node_args={
        "num_cpus": NODE_CPUS, "memory": NODE_BYTES, "object_store_memory": STORE_BYTES, "include_dashboard": False})
    try:
        for _ in range(NODES - 1):
            cluster.add_node(num_cpus=NODE_CPUS, memory=NODE_BYTES, object_store_memory=STORE_BYTES)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        effective = load({"memory": "4GiB", "state_dir": str(folder), "log_level": "WARNING"}, environ={})
        plan = place(effective.settings, ["ranking", "embedding"])
        start_serve(local=True, port=port)
        run([plan["ranking"], plan["embedding"]], effective.settings, {"ranking": Replicas(2, 2)}, 0.5)
        with ExitStack() as opened:
            fronts = {service: opened.enter_context(front(service, port, folder))
                      for service in ("ranking", "embedding")}
            yield Served(fronts, f"http://127.0.0.1:{port}", cluster)
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()


@contextmanager
def front(service: str, proxy_port: int, folder: Path) -> Iterator[str]:
    port = free_port()
    env = {**os.environ, "ULLAGE_STATE_DIR": str(folder), f"ULLAGE_{service.upper()}_PORT": str(port),
           "ULLAGE_LOG_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "ullage.stack.ray.serve_front", service, f"http://127.0.0.1:{proxy_port}"]
    process = subprocess.Popen(command, env=env)
    try:
        wait_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(60) == 0


def wait_ready(url: str, seconds: float = 150) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/v1/health/ready", timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{url} is not ready after {seconds} s")
