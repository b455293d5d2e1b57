"""A service is replaced, killed and left down while callers go on calling: who is refused, and what they are told."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager

import httpx
import psutil
import pytest

from stacks import running_stack

BODY = {"model": "ullage/minilm-fusion-ranker", "query": {"text": "When is the siren tested?"},
        "passages": [{"text": "Lunch is at noon."}, {"text": "The siren is tested every Thursday."}]}


class Callers:
    """Threads that rank without a pause: on kept connections, and on a new one for each request."""

    def __init__(self, url, kept=3, new=2):
        self.url = url
        self.seen = Counter()
        self.best = set()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(n < kept,)) for n in range(kept + new)]

    def _call(self, kept):
        limits = httpx.Limits(max_keepalive_connections=1 if kept else 0)
        with httpx.Client(base_url=self.url, timeout=60, limits=limits, trust_env=False) as http:
            while not self._done.is_set():
                try:
                    answer = http.post("/v1/ranking", json=BODY)
                    self.seen[answer.status_code] += 1
                    if answer.status_code == 200:
                        self.best.add(answer.json()["rankings"][0]["index"])
                except httpx.TransportError as error:
                    self.seen[type(error).__name__] += 1

    @contextmanager
    def calling(self):
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._done.set()
            for thread in self._threads:
                thread.join(90)

    def wait_for(self, more):
        before, deadline = self.seen[200], time.monotonic() + 60
        while self.seen[200] < before + more:
            assert time.monotonic() < deadline, self.seen
            time.sleep(0.02)


@pytest.mark.parametrize(("memory", "how"), [("2GiB", "two at once"), ("400MiB", "in turn")])
def test_a_restart_under_load_fails_no_request(model_cache, tmp_path, memory, how):
    with running_stack(tmp_path, "--only", "ranking", "--memory", memory) as stack:
        first = stack.json("status")["services"][0]["pid"]
        with Callers(stack.url("ranking")).calling() as callers:
            callers.wait_for(20)
            done = stack.json("restart", "ranking")
            callers.wait_for(20)
        assert done["how"] == how
        assert ("the budget (memory) has 28 MiB" in done["why"]) == (how == "in turn")
        assert set(callers.seen) == {200}, callers.seen
        assert callers.best == {1}
        now = stack.json("status")["services"][0]
        assert (now["ready"], now["restarts"]) == (True, 0)
        assert now["pid"] != first
        psutil.wait_procs([psutil.Process(first)] if psutil.pid_exists(first) else [], timeout=30)
        assert not psutil.pid_exists(first)


def test_a_killed_service_refuses_no_connection_and_says_why(model_cache, tmp_path):
    with running_stack(tmp_path, "--only", "ranking") as stack:
        pid = stack.json("status")["services"][0]["pid"]
        told = set()
        with httpx.Client(base_url=stack.url("ranking"), timeout=60, trust_env=False) as http:
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 60
            while not told or (answer := http.post("/v1/ranking", json=BODY)).status_code != 200:
                assert time.monotonic() < deadline, told
                answer = _answer(http)
                if answer is not None and answer.status_code != 200:
                    told.add((answer.status_code, answer.json()["message"]))
        assert answer.json()["rankings"][0]["index"] == 1
        assert (502, "ranking does not run: killed by SIGKILL; again in 1 s") in told
        assert {status for status, _ in told} <= {502, 503}
        assert json.loads((tmp_path / "run" / "stack.json").read_text())["services"][0]["restarts"] == 1


def _answer(http):
    """None for the one connection that the killed process had accepted."""
    try:
        return http.post("/v1/ranking", json=BODY)
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return None
