"""What tests on a Ray cluster share: fronts as processes, and what a fixture hands out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx


@dataclass
class Simulated:
    """`nodes` takes nodes away and adds them; `port` is that of Serve's proxy; `folder` is for state."""

    nodes: Any
    port: int
    folder: Path


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


@contextmanager
def front(service: str, proxy: str, folder: Path, **environment: str) -> Iterator[str]:
    """A front process, ready; `proxy` is where `/SERVICE` is."""
    port = free_port()
    env = {**os.environ, "ULLAGE_STATE_DIR": str(folder), f"ULLAGE_{service.upper()}_PORT": str(port),
           "ULLAGE_LOG_LEVEL": "WARNING", **environment}
    command = [sys.executable, "-m", "ullage.stack.ray.serve_front", service, proxy]
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
