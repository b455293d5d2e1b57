"""Faults of a running stack, one after the other, while users work; what they saw is written down as a table.

`scripts/chaos` runs this. Nothing of the machine is touched but our own: the full disk is a small file system of the
stack's, memory is taken from one process, and the clock is that of the stack's processes (`clock.c`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from faults import QUESTION, Users
from stacks import SAMPLES, running_stack
from ullage.models.files import locate
from ullage.models.resolve import resolve
from ullage.settings import Settings

REPORT = Path(__file__).parents[2] / "docs" / "reports" / "chaos.md"
CLOCK = Path(__file__).with_name("clock.c")
DISK_MB = 192
RECOVERED_S = 90
SERVICES = "vectors,ranking,embedding,ingest,rag"


@dataclass
class Row:
    fault: str
    seen: Counter[str]
    seconds: float

    def line(self) -> str:
        good = sum(count for what, count in self.seen.items() if what.endswith(" ok"))
        others = "; ".join(f"{what}: {count}" for what, count in sorted(self.seen.items())
                           if not what.endswith(" ok")) or "nothing else"
        return f"| {self.fault} | {good} | {others} | {self.seconds:.1f} s |"


class Chaos:
    def __init__(self, stack, users, disk, clock, weights):
        self.stack, self.users, self.disk, self.clock, self.weights = stack, users, disk, clock, weights
        self.rows: list[Row] = []

    def pid(self, service):
        return {s["service"]: s for s in self.stack.json("status")["services"]}[service]["pid"]

    @contextlib.contextmanager
    def fault(self, name, lasts_s=0.0):
        """The block brings the fault about; it has lasted long enough at its end, and time counts from there."""
        self.users.take()
        with contextlib.ExitStack() as lifted:
            yield lifted
            time.sleep(lasts_s)
        seconds = self.users.wait_well(RECOVERED_S)
        self.rows.append(Row(name, self.users.take(), seconds))


@pytest.fixture
def disk(tmp_path):
    """A file system of the stack's own, so that it can be full."""
    folder = tmp_path / "state"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", folder], check=False,
        capture_output=True).returncode == 0
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", folder], check=True)


@dataclass(frozen=True)
class Clock:
    """The wall clock of processes with this environment."""

    library: Path
    shift: Path

    def set(self, seconds):
        with self.shift.open("r+b") as out:
            out.write(struct.pack("<q", seconds))

    @property
    def environment(self):
        return {"LD_PRELOAD": str(self.library), "CLOCK_SHIFT": str(self.shift)}


@pytest.fixture
def clock(tmp_path):
    """None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    made = Clock(tmp_path / "clock.so", tmp_path / "shift")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made.library, CLOCK, "-ldl"], check=True)
    made.shift.write_bytes(bytes(8))
    return made


@pytest.fixture
def cache(model_cache, tmp_path):
    """The model cache as links, but for the ranking model's weights, which may be spoilt; and those."""
    own = tmp_path / "cache"
    shutil.copytree(model_cache, own, symlinks=True, copy_function=os.symlink,
                    ignore=shutil.ignore_patterns("exports"))
    weights = locate(resolve(Settings().ranking_model, "ranking"), own)["weights"]
    real = weights.resolve()
    weights.unlink()
    shutil.copyfile(real, weights)
    return own, weights


@pytest.mark.timeout(600)
def test_an_hour_of_faults_loses_no_document_and_gives_no_wrong_score(disk, clock, cache, tmp_path):
    own_cache, weights = cache
    settings = {"ULLAGE_CACHE_DIR": str(own_cache), "ULLAGE_RANKING_TIMEOUT_S": "3", "ULLAGE_ENABLE_WEB": "false"}
    if clock is not None:
        settings |= clock.environment
    begun = time.monotonic()
    with running_stack(disk or tmp_path / "state", "--memory", "3GiB", "--only", SERVICES, **settings) as stack:
        stack.ullage("ingest", str(SAMPLES / "handbook" / "safety-and-emergency-plan.pdf"))
        users = Users(*(stack.url(service) for service in ("ranking", "rag", "ingest")))
        chaos = Chaos(stack, users, disk, clock, weights)
        try:
            with users.working():
                users.wait_well(60)
                for fault in FAULTS:
                    fault(chaos)
            deadline = time.monotonic() + RECOVERED_S
            while users.missing() and time.monotonic() < deadline:
                time.sleep(0.2)
        finally:  # a run that was cut short has its rows too
            report(chaos, users, time.monotonic() - begun)
        assert users.missing() == []
        assert stack.json("search", QUESTION)["results"]
    assert users.wrong == 0
    assert len(users.accepted) > 20


def killed(chaos, service):
    with chaos.fault(f"kill -9 of {service}"):
        os.kill(chaos.pid(service), signal.SIGKILL)


def kill_ranking(chaos):
    killed(chaos, "ranking")


def kill_embedding(chaos):
    killed(chaos, "embedding")


def kill_ingest(chaos):
    killed(chaos, "ingest")


def kill_vectors(chaos):
    killed(chaos, "vectors")


def stop_ranking(chaos):
    pid = chaos.pid("ranking")
    with chaos.fault("ranking stopped for 6 s (SIGSTOP)", 6) as lifted:
        os.kill(pid, signal.SIGSTOP)
        lifted.callback(os.kill, pid, signal.SIGCONT)


def slow_network(chaos):
    """Callers whose bytes trickle: a hundred at once, some begun requests never finished."""
    port = httpx.URL(chaos.users.ranking).port
    with chaos.fault("slow network: 100 callers at one byte a second", 3) as lifted:
        head = (b"POST /v1/ranking HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                b"Content-Length: 4096\r\n\r\n{")
        callers = [lifted.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(100)]
        for caller in callers:
            caller.sendall(head)
        for _ in range(3):
            for caller in callers:
                caller.sendall(b" ")
            time.sleep(1)


def full_disk(chaos):
    if chaos.disk is None:
        return
    filler = chaos.disk / "filler"
    with chaos.fault("disk of state_dir full for 6 s", 6) as lifted:
        with filler.open("wb") as out, contextlib.suppress(OSError):
            while True:
                out.write(b"\0" * (1 << 16))
        lifted.callback(filler.unlink)


def full_memory(chaos):
    """No more address space for ranking than it has: what it asks for now it does not get."""
    process = psutil.Process(chaos.pid("ranking"))
    now = process.memory_info().vms + (1 << 20)
    with chaos.fault("no memory for ranking for 6 s", 6) as lifted:
        before = process.rlimit(psutil.RLIMIT_AS)
        process.rlimit(psutil.RLIMIT_AS, (now, before[1]))
        lifted.callback(lambda: process.is_running() and process.rlimit(psutil.RLIMIT_AS, before))


def clock_jumps(chaos):
    if chaos.clock is None:
        return
    for seconds, said in ((3600, "clock jumps one hour ahead"), (-3600, "clock jumps two hours back"),
                          (0, "clock jumps to where it was")):
        with chaos.fault(said, 3):
            chaos.clock.set(seconds)


def corrupt_cache(chaos):
    """A byte of the weights changes on the disk while the service has to start again; the operator mends it."""
    whole = chaos.weights.read_bytes()
    with chaos.fault("weights of ranking corrupt on the disk, then kill -9; mended after 6 s", 6) as lifted:
        spoilt = bytearray(whole)
        spoilt[len(spoilt) // 2] ^= 0xFF
        chaos.weights.write_bytes(spoilt)
        lifted.callback(chaos.weights.write_bytes, whole)
        os.kill(chaos.pid("ranking"), signal.SIGKILL)


def flood(chaos):
    """Forty callers with the largest requests, without a pause, who do not listen to Retry-After."""
    body = {"model": "ullage/minilm-fusion-ranker", "query": {"text": QUESTION}, "truncate": "END",
            "passages": [{"text": "siren harbour ferry lifejacket " * 100}] * 128}
    done = threading.Event()

    def call():
        with httpx.Client(base_url=chaos.users.ranking, timeout=60, trust_env=False) as http:
            while not done.is_set():
                with contextlib.suppress(httpx.TransportError):
                    http.post("/v1/ranking", json=body)

    with chaos.fault("flood: 40 callers with 128 long passages each", 6) as lifted:
        callers = [threading.Thread(target=call) for _ in range(40)]
        for caller in callers:
            caller.start()
            lifted.callback(caller.join)
        lifted.callback(done.set)


def rolling_restart(chaos):
    for service in ("ranking", "rag"):
        with chaos.fault(f"`ullage restart {service}`"):
            assert chaos.stack.json("restart", service)["how"] == "two at once"


def kill_supervisor(chaos):
    supervisor = chaos.stack.json("status")["pid"]
    family = psutil.Process(supervisor).children(recursive=True)
    with chaos.fault("kill -9 of the supervisor, then `ullage up`"):
        os.kill(supervisor, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive
        chaos.stack.ullage("up", "--detach", "--memory", "3GiB", "--only", SERVICES)
    log = next(Path(chaos.stack.environment["ULLAGE_STATE_DIR"]).glob("logs/up.log")).read_text()
    assert f"the stack of pid {supervisor} ended without being stopped" in log


FAULTS = (kill_ranking, kill_embedding, kill_ingest, kill_vectors, stop_ranking, slow_network, full_disk, full_memory,
          clock_jumps, corrupt_cache, flood, rolling_restart, kill_supervisor)
ROWS = len(FAULTS) + 3
"""Three jumps of the clock, two restarts."""


def report(chaos, users, seconds):
    """The table, printed; only the run that a person asks for writes the file."""
    try:
        lost = str(len(users.missing()))
    except httpx.HTTPError:
        lost = "unknown, the ingestor is away"
    reached = "all" if len(chaos.rows) == ROWS else f"the first {len(chaos.rows)} of {ROWS}"
    lines = [
        "# Faults of a running stack, and what its users saw", "",
        "Written by `make chaos` (`tests/chaos/test_stack_faults.py`): a stack within 3 GiB on the CPU (vectors,",
        "ranking, embedding, ingest, rag); one user ranks the same three passages without a pause, one searches, one",
        "uploads a document each time. Recovery counts from the end of the fault (of a kill: from the kill) until each",
        "of the three has succeeded twice more. `search without X` is an answer that says so.", "",
        f"{os.cpu_count()} cores, {seconds:.0f} s in all, {reached} faults. Accepted documents: "
        f"{len(users.accepted)}, lost: {lost}; rankings with other scores than before the faults: {users.wrong}.", "",
        "| fault | good answers | other answers | time to recover |", "|---|---|---|---|",
        *(row.line() for row in chaos.rows), "",
    ]
    print("\n".join(lines))
    if os.environ.get("CHAOS_REPORT") == "1":
        REPORT.write_text("\n".join(lines), encoding="utf-8")
