"""`ullage up` with real services: it comes up, mends itself, refuses what cannot work, and leaves nobody behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from metrics_scheme import faults, samples, used
from processes import clean_environment, free_port

SERVICES = ("vectors", "ranking", "embedding", "llm", "ingest", "rag")
SOME = "vectors,embedding,ingest"


class Stack:
    """Commands on one state_dir with ports of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {service: free_port() for service in SERVICES}
        self.environ = clean_environment(
            ULLAGE_STATE_DIR=str(folder), ULLAGE_ENABLE_WEB="false",
            **{f"ULLAGE_{s.upper()}_PORT": str(p) for s, p in self.ports.items()}
        )

    def command(self, *arguments):
        return [sys.executable, "-m", "ullage", *map(str, arguments)]

    def run(self, *arguments):
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=120, env=self.environ,
                              check=False)

    def status(self):
        done = self.run("status", "--json")
        return {service["service"]: service for service in json.loads(done.stdout)["services"]}

    def until(self, true):
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline, self.status()
            time.sleep(0.1)


@pytest.fixture
def stack(model_cache, tmp_path):
    made = Stack(tmp_path)
    yield made
    made.run("down")


def processes(status):
    return [psutil.Process(service["pid"]) for service in status.values()]


def wait_gone(*gone):
    _, alive = psutil.wait_procs(gone, timeout=30)
    assert not alive


def test_up_status_mend_down(stack):
    started = stack.run("up", "--only", SOME, "--detach")
    assert started.returncode == 0, started.stderr
    assert "everything is ready" in started.stdout
    first = stack.status()
    assert tuple(first) == ("vectors", "embedding", "ingest")
    for service in first.values():
        assert service["ready"]
        assert service["state"] == "ready"
        assert service["resident_bytes"] > 50 << 20
        assert service["ratio"] == round(service["resident_bytes"] / service["predicted_bytes"], 3)

    os.kill(first["embedding"]["pid"], signal.SIGKILL)
    stack.until(lambda: stack.status()["embedding"]["restarts"] == 1 and stack.status()["embedding"]["ready"])
    second = stack.status()
    assert second["embedding"]["pid"] != first["embedding"]["pid"]
    assert second["vectors"]["pid"] == first["vectors"]["pid"]

    again = stack.run("up", "--only", "ranking")
    assert again.returncode == 2
    assert f"a stack already runs on {stack.folder}, pid " in again.stderr
    assert len(again.stderr.splitlines()) == 1

    running = processes(second)
    assert stack.run("down").returncode == 0
    wait_gone(*running)
    assert stack.run("status").returncode == 6


def test_a_killed_supervisor_leaves_nobody_and_nothing_is_lost(stack, tmp_path):
    assert stack.run("up", "--only", SOME, "--detach").returncode == 0
    document = tmp_path / "note.md"
    document.write_text("# Sirens\n\nThe siren is tested every Thursday.\n")
    assert stack.run("ingest", document).returncode == 0
    supervisor = json.loads(stack.run("status", "--json").stdout)["pid"]
    running = [psutil.Process(supervisor), *processes(stack.status())]
    os.kill(supervisor, signal.SIGKILL)
    wait_gone(*running)
    assert stack.run("status").returncode == 6

    again = stack.run("up", "--only", SOME, "--detach")
    assert again.returncode == 0
    assert f"the stack of pid {supervisor} ended without being stopped, after " in again.stdout
    known = stack.run("ingest", document)
    assert known.returncode == 5
    assert "note.md: is already there" in known.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_cleanly(stack, number):
    with subprocess.Popen(stack.command("up", "--only", "vectors,ranking"), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env=stack.environ) as up:
        ready = {line.split()[0] for line in _lines_until(up.stdout, lambda seen: _count_ready(seen) == 2)
                 if " ready on port " in line}
        assert ready == {"vectors", "ranking"}
        running = processes(stack.status())
        up.send_signal(number)
        rest, errors = up.communicate(timeout=60)
    assert up.returncode == 0
    assert errors == ""
    assert "vectors stopped: exited with 0" in rest
    assert "ranking stopped: exited with 0" in rest
    wait_gone(*running)


def _count_ready(lines):
    return sum(" ready on port " in line for line in lines)


def _lines_until(stream, enough):
    seen = []
    for line in stream:
        seen.append(line)
        if enough(seen):
            break
    return seen


def test_a_taken_port_starts_nothing(stack):
    assert stack.run("up", "--only", "vectors", "--detach").returncode == 0
    other = Stack(stack.folder / "other")
    other.environ["ULLAGE_RAG_PORT"] = str(stack.ports["vectors"])
    refused = other.run("up", "--only", "ranking,rag")
    assert refused.returncode == 2
    [line] = refused.stderr.splitlines()
    assert f"port {stack.ports['vectors']} of rag is held by pid {stack.status()['vectors']['pid']} (" in line
    assert list((stack.folder / "other").rglob("*.log")) == []


def test_missing_model_files_start_nothing(stack, tmp_path):
    stack.environ["ULLAGE_CACHE_DIR"] = str(tmp_path / "empty")
    stack.environ["ULLAGE_RANKING_MODEL"] = str(tmp_path)
    refused = stack.run("up", "--only", "ranking")
    assert refused.returncode == 4
    assert len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_a_detached_stack_that_cannot_start_says_why(stack):
    stack.environ["ULLAGE_CHUNK_TOKENS"] = "8000"
    failed = stack.run("up", "--only", SOME, "--detach")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ingest cannot start: chunk_tokens=8000 is more than")
    assert len(failed.stderr.splitlines()) == 1
    assert stack.run("status").returncode == 6


HANDBOOK = Path(__file__).parents[2] / "samples" / "handbook"


def test_the_whole_stack_answers_and_says_when_the_reranker_is_away(stack):
    stack.environ["ULLAGE_RANKING_TIMEOUT_S"] = "10"
    assert stack.run("up", "--detach").returncode == 0
    assert stack.run("ingest", HANDBOOK / "safety-and-emergency-plan.pdf").returncode == 0
    question = "When are the evacuation sirens in the terminals tried out?"
    answer = json.loads(stack.run("ask", question, "--json").stdout)
    assert "Thursday" in answer["text"]
    assert ("safety-and-emergency-plan.pdf", 4) in [(c["document"], c["page"]) for c in answer["citations"]]
    assert answer["degraded"] == []
    found = json.loads(stack.run("search", question, "--json", "--top-k", "2").stdout)
    assert found["results"][0]["metadata"]["page_number"] == 4
    assert len(found["results"]) == 2
    scraped = {s: httpx.get(f"http://127.0.0.1:{stack.ports[s]}/v1/metrics", timeout=30).text
               for s in SERVICES if s != "vectors"}
    assert {service: faults(text) for service, text in scraped.items()} == {service: [] for service in scraped}
    assert used() <= set.union(*map(samples, scraped.values()))

    ranking = stack.status()["ranking"]["pid"]
    os.kill(ranking, signal.SIGSTOP)
    shown = stack.run("ask", question)
    os.kill(ranking, signal.SIGCONT)
    assert shown.returncode == 0
    assert "degraded: ranking did not take part" in shown.stdout
    assert "Thursday" in shown.stdout


def test_the_demo_does_its_job_and_leaves_nobody(model_cache):
    with subprocess.Popen([sys.executable, "-m", "ullage", "demo", "--samples", str(HANDBOOK)], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment()) as demo:
        lines = _lines_until(demo.stdout, lambda seen: seen[-1].startswith("rag is ready"))
        running = psutil.Process(demo.pid).children(recursive=True)
        rest, errors = demo.communicate(timeout=200)
    assert demo.returncode == 0, rest
    assert "Traceback" not in errors
    assert len(running) == 1 + len(SERVICES)
    wait_gone(*running)
    shown = "".join(lines) + rest
    for said in ("winter-layup-circular-2023-scan.pdf: refused: ", "retrieval order:", "after reranking:", " logit +",
                 "safety-and-emergency-plan.pdf, page 5", "The documents do not contain an answer", "demo: ok in "):
        assert said in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_stopped_leaves_nobody(model_cache, tmp_path, number):
    command, environ = [sys.executable, "-m", "ullage", "demo", "--samples", str(HANDBOOK)], {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=clean_environment(**environ)) as demo:
        _lines_until(demo.stdout, lambda seen: " is ready on port " in seen[-1])
        running = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=60)
    assert demo.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert "Traceback" not in errors
    wait_gone(*running)
    if number == signal.SIGTERM:
        assert list(tmp_path.glob("ullage-*")) == []
