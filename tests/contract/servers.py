"""Real server processes for clients: the product's own interpreter, which need not be the one that runs the tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
RANKER = "ullage/minilm-fusion-ranker"
QUERY = "When does the siren sound?"
PASSAGES = ["Tea is served in the hall.", "The siren sounds on Thursday at noon.", "Boats leave from the north pier."]
BEST = 1
WITH_GRPC = ("ranking", "embedding", "vision")


@dataclass
class Server:
    url: str
    grpc: str
    log: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(service: str, folder: Path, **settings: str) -> Iterator[Server]:
    """`ullage serve SERVICE`, ready, with a gRPC port if it has one. `ULLAGE_PYTHON` names the interpreter."""
    port, grpc_port = free_port(), free_port()
    server = Server(f"http://127.0.0.1:{port}", f"127.0.0.1:{grpc_port}", folder / f"{service}-{port}.log")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ULLAGE_", "NIM_", "APP_"))}
    own = {"STATE_DIR": str(folder), **settings}
    if service in WITH_GRPC:
        own = {f"{service.upper()}_GRPC_PORT": str(grpc_port), **own}
    env = {**kept, **{f"ULLAGE_{name}": value for name, value in own.items()}}
    command = [product(), "-m", "ullage", "serve", service, "--port", str(port)]
    with server.log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=env)
    try:
        _wait_ready(process, server)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert code == 0, f"exited with {code}: {server.log.read_text()}"


@contextmanager
def behind(folder: Path) -> Iterator[dict[str, str]]:
    """A database and models that answer at once, as settings of a RAG server or an ingestor."""
    vectors, stubs = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    port = vectors.rpartition(":")[2]
    commands = (
        ["ullage.stack.lite_server", "--data-dir", str(folder / "vectors"), "--host", "127.0.0.1", "--port", port],
        ["ullage.bench.rag_stubs", stubs.rpartition(":")[2]],
    )
    processes = [subprocess.Popen([product(), "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                 for command in commands]
    try:
        yield {"VECTORS_URI": vectors, "EMBEDDING_URL": stubs, "RANKING_URL": stubs, "LLM_URL": stubs}
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


def product() -> str:
    """The interpreter that has ullage."""
    return os.environ.get("ULLAGE_PYTHON", sys.executable)


def _wait_ready(process: subprocess.Popen[bytes], server: Server, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"exited with {process.returncode}: {server.log.read_text()}")
        try:
            with urllib.request.urlopen(f"{server.url}/v1/health/ready", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"not ready after {seconds} s: {server.log.read_text()}")
