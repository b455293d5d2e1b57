"""Sockets that a process is born with, and a real server that takes them over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from ullage.errors import SettingsError
from ullage.http.handed import Handed, handed_over
from ullage.http.run import claim_port
from ullage.stack import child

SERVER = """
import asyncio, sys
from ullage.http import ServiceInfo, build_app
from ullage.http.handed import handed_over
from ullage.http.run import run_server
class Slow:
    async def start(self, health):
        while not __import__("pathlib").Path(sys.argv[2]).exists():
            await asyncio.sleep(0.02)
    async def stop(self): pass
handed = handed_over()
app = build_app(ServiceInfo("rag"), Slow(), max_body=1 << 20)
@app.get("/who")
async def who(): return {"who": sys.argv[3]}
run_server(app, handed.claim("127.0.0.1", int(sys.argv[1])), back=handed.back, standby=handed.standby)
"""


@pytest.fixture
def listener():
    with claim_port("127.0.0.1", 0) as opened:
        yield opened


def start(listener, name, ready, who, back):
    port = listener.getsockname()[1]
    handed = f"{listener.fileno()}={name},{back.fileno()}=back"
    command = [sys.executable, "-I", "-S", child.__file__, str(os.getpid()), handed, sys.executable, "-c", SERVER,
               str(port), str(ready), who]
    return subprocess.Popen(command, pass_fds=[listener.fileno(), back.fileno()], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def private(path):
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(str(path))
    opened.listen()
    return opened


def until(path, status):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://back", timeout=30) as http:
            if http.get("/v1/health/ready").status_code == status:
                return
        time.sleep(0.02)
    raise AssertionError(f"never {status}")


def test_one_on_standby_serves_once_it_is_ready_and_the_other_leaves_without_a_loss(listener, tmp_path):
    ready, later = tmp_path / "ready", tmp_path / "later"
    ready.touch()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with private(tmp_path / "a") as one, private(tmp_path / "b") as two:
        old = start(listener, "front", ready, "old", one)
        new = start(listener, "standby", later, "new", two)
        try:
            until(tmp_path / "a", 200)
            until(tmp_path / "b", 503)
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as kept:
                assert {kept.get("/who").json()["who"] for _ in range(20)} == {"old"}
                later.touch()
                until(tmp_path / "b", 200)
                old.send_signal(signal.SIGUSR1)
                last = kept.get("/who")  # on the connection that the old one still holds
                assert last.json()["who"] in ("old", "new")
                deadline = time.monotonic() + 60
                while old.poll() is None:
                    assert kept.get("/who").status_code == 200
                    assert time.monotonic() < deadline
                assert kept.get("/who").json()["who"] == "new"
            assert old.returncode == 0
        finally:
            for process in (old, new):
                process.terminate()
                process.wait(60)


def test_every_answer_bears_the_safe_headers(listener, tmp_path):
    ready = tmp_path / "ready"
    ready.touch()
    with private(tmp_path / "a") as back:
        server = start(listener, "front", ready, "x", back)
        try:
            until(tmp_path / "a", 200)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            for path in ("/who", "/nowhere"):
                headers = httpx.get(url + path, trust_env=False, timeout=60).headers
                assert headers["x-content-type-options"] == "nosniff"
                assert headers["x-frame-options"] == "DENY"
                assert "server" not in headers
        finally:
            server.terminate()
            server.wait(60)


def test_what_nobody_claims_is_named(listener):
    handed = Handed(front=[listener.dup()])
    with handed.front[0], pytest.raises(SettingsError, match=f"port {listener.getsockname()[1]} was handed over"):
        handed.nothing_left()


def test_sockets_of_another_process_are_not_taken(monkeypatch):
    for name, value in (("LISTEN_FDS", "1"), ("LISTEN_PID", str(os.getpid() + 1)), ("LISTEN_FDNAMES", "front")):
        monkeypatch.setenv(name, value)
    assert handed_over().front == []
    assert "LISTEN_FDS" not in os.environ
