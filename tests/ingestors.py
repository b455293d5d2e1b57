"""A real ingestor's process with a real Milvus Lite server and a hashing embedder that can be slow."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from fastapi import Request
from fastapi.responses import JSONResponse

from hashing import HashingEmbedder
from processes import Service, clean_environment, free_port, wait_ready
from ullage.http.run import claim_port


class SlowEmbedder(HashingEmbedder):
    """Takes `pause_s` for each call."""

    def __init__(self, pause_s: float) -> None:
        self.pause_s = pause_s
        super().__init__()

    async def _embed(self, request: Request) -> JSONResponse:
        await asyncio.sleep(self.pause_s)
        answer = await super()._embed(request)
        self.passages.clear()
        return answer


@contextmanager
def embedding(pause_s: float = 0.0) -> Iterator[str]:
    service = SlowEmbedder(pause_s)
    listener = claim_port("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(service.app, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def lite_server(folder: Path) -> Iterator[tuple[str, int]]:
    """Its URI and its process."""
    port = free_port()
    command = [sys.executable, "-m", "ullage.stack.lite_server", "--data-dir", str(folder / "vectors"),
               "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(10)


class Ingestor:
    """`ullage serve ingest` on one port and one folder, which may be killed and started again."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._environment = clean_environment(ULLAGE_STATE_DIR=str(folder), **environment)
        self._log = folder / "ingest.log"
        self.service: Service | None = None

    def start(self, *, wait: bool = True) -> None:
        """Until it is ready, unless it is not to be waited for."""
        command = [sys.executable, "-m", "ullage", "serve", "ingest", "--port", str(self.port)]
        with self._log.open("ab") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=self._environment)
        self.service = Service(process, self.url, self._log)
        if wait:
            wait_ready(self.service)

    @property
    def pid(self) -> int:
        assert self.service is not None
        return self.service.process.pid

    def kill(self) -> None:
        assert self.service is not None
        self.service.process.kill()
        self.service.process.wait(10)

    def stop(self) -> None:
        if self.service is not None and self.service.process.poll() is None:
            self.service.stop()


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue  # a thread that has just ended
    return found


def resident_bytes(*pids: int) -> int:
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue  # a reader that has just ended
    return pages * resource.getpagesize()


def kill_one_of(pids: list[int]) -> bool:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        return True
    return False
