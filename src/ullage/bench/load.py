"""Load on a ranking service: what `ullage bench load` sends, and how it looks at the service meanwhile.

Clients and service share the machine, as on any laptop; what the clients cost is in the figures.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np

from ullage.errors import EngineFailed

WORDS = ("pump valve pressure harbour evacuation the of and is maintenance siren lifejacket tested monthly boat engine "
         "oil crew deck rope anchor").split()
QUERY = "when are the evacuation sirens tested?"
READY_S = 120.0
POLL_S = 0.02
ANSWER_S = 900.0


@dataclass(frozen=True, slots=True)
class Call:
    """One ranking request. Texts are random words, so hardly any two rows of a run are the same."""

    raw: bytes
    passages: int

    @classmethod
    def make(cls, seed: int, passages: int, words: tuple[int, int]) -> Call:
        """`words` are the fewest and the most of a passage."""
        random = np.random.default_rng(seed)
        lengths = random.integers(words[0], words[1] + 1, passages)
        texts = [{"text": " ".join(random.choice(WORDS, int(length)))} for length in lengths]
        return cls(json.dumps({"query": {"text": QUERY}, "passages": texts, "truncate": "END"}).encode(), passages)


@dataclass(frozen=True, slots=True)
class Answer:
    """`retry_after_s` is None where the answer does not say it."""

    status: int
    seconds: float
    logits: tuple[float, ...] = ()
    retry_after_s: int | None = None


class Client:
    """Talks to one service. Raises httpx.TransportError when there is no answer."""

    def __init__(self, http: httpx.AsyncClient, model: str) -> None:
        self._http = http
        self._head = b'{"model": ' + json.dumps(model).encode() + b", "

    @classmethod
    async def of(cls, http: httpx.AsyncClient) -> Client:
        listed = await http.get("/v1/models")
        return cls(http, listed.json()["data"][0]["id"])

    def body(self, call: Call) -> bytes:
        return self._head + call.raw[1:]

    async def ask(self, call: Call) -> Answer:
        begun = time.perf_counter()
        found = await self._http.post("/v1/ranking", content=self.body(call),
                                      headers={"content-type": "application/json"})
        seconds = time.perf_counter() - begun
        if found.status_code != 200:
            said = found.headers.get("retry-after", "")
            return Answer(found.status_code, seconds, retry_after_s=int(said) if said.isdigit() else None)
        ranked = sorted(found.json()["rankings"], key=lambda item: item["index"])
        return Answer(200, seconds, tuple(item["logit"] for item in ranked))

    async def figures(self) -> dict[str, float]:
        """Every figure of the metrics that has no label, by name."""
        text = (await self._http.get("/v1/metrics")).text
        return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}

    async def resident_bytes(self) -> int:
        return int((await self._http.get("/v1/memory")).json()["resident_bytes"])


def connect(url: str) -> httpx.AsyncClient:
    """As many connections as there are requests: a client that waits for a connection would hide what the service
    does."""
    return httpx.AsyncClient(base_url=url, timeout=ANSWER_S,
                             limits=httpx.Limits(max_connections=None, max_keepalive_connections=64))


@dataclass(frozen=True, slots=True)
class Service:
    """A ranking service of the benchmark's own."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def terminate(self, seconds: float) -> int:
        """SIGTERM, then the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextmanager
def own_service(
    settings: Mapping[str, str] | None = None, module: Sequence[str] = ("ullage", "serve", "ranking")
) -> Iterator[Service]:
    """`ullage serve ranking`, or another `module` that answers for it, on a free port, ready, stopped afterwards;
    `settings` are added to its environment.

    Raises EngineFailed when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="ullage-load-") as folder:
        port = free_port()
        log = Path(folder) / "service.log"
        command = [sys.executable, "-m", *module]
        environment = {"ULLAGE_LOG_LEVEL": "WARNING", **os.environ, **(settings or {}), "ULLAGE_STATE_DIR": folder,
                       "ULLAGE_RANKING_PORT": str(port)}
        with log.open("wb") as out, subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, env=environment
        ) as process:
            service = Service(process, f"http://127.0.0.1:{port}", log)
            try:
                _wait_ready(service)
                yield service
            finally:
                process.terminate()


def _wait_ready(service: Service) -> None:
    def still_runs() -> None:
        if service.process.poll() is not None:
            said = service.log.read_text(encoding="utf-8", errors="replace").strip().rpartition("\n")[2]
            raise EngineFailed(f"the ranking service ended with {service.process.returncode}: {said}")

    if not ready_within(service.url, READY_S, still_runs):
        raise EngineFailed(f"the ranking service was not ready within {READY_S:g} s")


def ready_within(url: str, seconds: float, still_runs: Callable[[], None] = lambda: None) -> bool:
    """Whether what listens at `url` says so in time. `still_runs` is called before each look, to raise if it ended."""
    until = time.monotonic() + seconds
    with httpx.Client(timeout=5) as client:  # one: each reads the certificates of the system
        while time.monotonic() < until:
            still_runs()
            try:
                if client.get(f"{url}/v1/health/ready").status_code == 200:
                    return True
            except httpx.TransportError:
                pass  # it does not listen yet
            time.sleep(POLL_S)
    return False


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def counted(before: Mapping[str, float], after: Mapping[str, float], *names: str) -> list[float]:
    """By how much counters of the scheduler grew between two of `Client.figures`."""
    return [after[name] - before[name] for name in (f"ullage_scheduler_{one}_total" for one in names)]


def quantile(values: Sequence[float], share: float) -> float:
    """0 where there are none."""
    return float(np.quantile(values, share)) if values else 0.0
