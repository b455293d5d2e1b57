"""Real server processes for tests: started on a free port, waited for, stopped and checked for a clean exit."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**extra: str) -> dict[str, str]:
    """Our environment without any setting of ullage or of the stack it replaces."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ULLAGE_", "NIM_", "APP_"))}
    return {**kept, **extra}


@dataclass
class Service:
    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def stop(self, seconds: float = 30) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def running(service: str, folder: Path, *arguments: str, **environment: str) -> Iterator[Service]:
    """`ullage serve SERVICE` on a free port, ready. Its log is in `folder`."""
    port = free_port()
    log = folder / f"{service}-{port}.log"
    command = [sys.executable, "-m", "ullage", "serve", service, "--port", str(port), *arguments]
    env = clean_environment(ULLAGE_STATE_DIR=str(folder), **environment)
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
    started = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_ready(started)
        yield started
    finally:
        if process.poll() is None:
            started.stop()


def wait_ready(service: Service, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            raise AssertionError(f"exited with {service.process.returncode}: {service.log.read_text()}")
        try:
            if httpx.get(f"{service.url}/v1/health/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready after {seconds} s: {service.log.read_text()}")
