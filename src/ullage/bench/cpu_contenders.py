"""Who is measured by `ullage bench cpu`: libraries in environments of their own, and ours in-process and over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Protocol

import psutil

from ullage.bench import cpu_peer
from ullage.bench.cpu_checkpoint import Work
from ullage.bench.gpu_service import RankingProcess
from ullage.errors import Unavailable

VARIANTS = {
    "sentence-transformers": ("torch-fp32", "torch-bf16", "onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-bf16",
                              "openvino-int8"),
    "infinity": ("torch", "optimum"),
    "fastembed": ("fp32",),
}


@dataclass(frozen=True, slots=True)
class Timing:
    """One round of a load: `scores` and `latencies_s` of each request, `seconds` for all of them."""

    scores: list[list[float]]
    seconds: float
    latencies_s: list[float]


class Contender(Protocol):
    name: str
    versions: dict[str, str]

    def run(self, load: Sequence[Work], clients: int) -> Timing: ...

    def peak_bytes(self) -> int: ...


@dataclass(slots=True)
class Program:
    """A process that speaks cpu_peer's lines. Entering raises Unavailable with the words of what it could not load."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    _process: Any = None
    _said: Any = None

    def __enter__(self) -> Program:
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(self.command, env=os.environ | self.environment, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=self._said, text=True)
        try:
            first = self._read()
        except BaseException:
            self.__exit__()
            raise
        if "error" in first:
            self.__exit__()
            raise Unavailable(first["error"])
        self.versions = first["versions"]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            self._said.seek(0)
            lines = self._said.read().decode(errors="replace").strip().splitlines()
            raise Unavailable(lines[-1] if lines else f"{self.name} ended without a word")
        found: dict[str, Any] = json.loads(line)
        return found

    def run(self, load: Sequence[Work], clients: int) -> Timing:
        asked = {"requests": [[work.query, work.passages] for work in load], "clients": clients}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return Timing(**self._read())

    def peak_bytes(self) -> int:
        return peak_of(self._process.pid)


@dataclass(slots=True)
class OverHttp:
    """A real `ullage serve ranking`, asked over `/v1/ranking` by the standard library's client on open connections."""

    name: str
    server: RankingProcess
    model: str
    versions: dict[str, str] = field(default_factory=dict)

    def run(self, load: Sequence[Work], clients: int) -> Timing:
        own = threading.local()
        opened: list[HTTPConnection] = []

        def score(query: str, passages: list[str]) -> list[float]:
            if not hasattr(own, "connection"):
                own.connection = HTTPConnection(self.server.url.removeprefix("http://"), timeout=300)
                opened.append(own.connection)
            body = {"model": self.model, "query": {"text": query}, "passages": [{"text": text} for text in passages]}
            own.connection.request("POST", "/v1/ranking", json.dumps(body), {"content-type": "application/json"})
            answer = own.connection.getresponse()
            found = json.loads(answer.read())
            if answer.status != 200:
                raise Unavailable(f"{self.name} answered {answer.status}: {found}")
            scores = [0.0] * len(passages)
            for each in found["rankings"]:
                scores[each["index"]] = each["logit"]
            return scores

        score.concurrent = True  # type: ignore[attr-defined]
        asked = {"requests": [[work.query, list(work.passages)] for work in load], "clients": clients}
        try:
            return Timing(**cpu_peer.answer(score, asked))
        finally:
            for connection in opened:
                connection.close()

    def peak_bytes(self) -> int:
        return peak_of(self.server.pid)


def peak_of(pid: int) -> int:
    """Largest resident set so far of a process, and of those of its children that live, each at its own peak."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    total = 0
    for process in family:
        for line in Path(f"/proc/{process.pid}/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                total += int(line.split()[1]) << 10
    return total


def peer(peers: Path, library: str, variant: str, folder: Path, scratch: Path) -> Program:
    """A library in its environment below `peers`."""
    program = (peers / library / "bin" / "python", "-I", cpu_peer.__file__)
    return Program(f"{library} {variant}", [str(part) for part in (*program, library, variant, folder, scratch)])


def in_process(folder: Path, settings: dict[str, str]) -> Program:
    return Program("ullage, in-process", [sys.executable, "-m", "ullage.bench.cpu_inprocess", str(folder)],
                   {f"ULLAGE_{name.upper()}": value for name, value in settings.items()})


def over_http(stack: ExitStack, folder: Path, cache_dir: Path, settings: dict[str, str]) -> OverHttp:
    server = stack.enter_context(RankingProcess(folder, cache_dir, ranking_device="cpu", **settings))
    return OverHttp("ullage, HTTP", server, folder.name)

