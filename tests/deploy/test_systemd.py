"""The unit file: what systemd itself says of it, and that it asks for what the supervisor does."""

from __future__ import annotations

import configparser
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ullage.devices import Machine
from ullage.settings import load
from ullage.stack.deploy import systemd_unit
from ullage.stack.notify import notify
from ullage.stack.place import place

MACHINE = Machine(cores=8, total_bytes=64 << 30, free_bytes=60 << 30, limit="host")


def unit(**flags):
    settings = load(flags, environ={}).settings
    return systemd_unit(place(settings, None, MACHINE), settings, user="root", config=Path("/etc/ullage/ullage.yaml"))


def parsed(text):
    made = configparser.ConfigParser(strict=False, interpolation=None)
    made.optionxform = str
    made.read_string(text)
    return made


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_nothing_wrong_with_it(tmp_path):
    file = tmp_path / "ullage.service"
    file.write_text(unit(state_dir=tmp_path / "state", cache_dir=tmp_path / "cache"))
    done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True, check=False, timeout=60)
    assert "ullage.service" not in done.stderr, done.stderr


def test_it_stops_in_order_and_does_not_repeat_what_is_hopeless(tmp_path):
    service = parsed(unit(state_dir=tmp_path, request_timeout_s=300))["Service"]
    assert service["ExecStart"] == f"{sys.executable} -m ullage --config /etc/ullage/ullage.yaml up"
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 300
    assert service["RestartPreventExitStatus"] == "2 3 4"
    assert str(tmp_path) in service["ReadWritePaths"]


def test_its_memory_is_bounded_by_the_budget(tmp_path):
    limit = int(parsed(unit(state_dir=tmp_path, memory="4GiB"))["Service"]["MemoryMax"])
    assert 4 << 30 < limit < 5 << 30


def test_systemd_is_told_when_the_stack_is_ready(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        notify("READY=1")
        assert manager.recv(64) == b"READY=1"
    notify("STOPPING=1")  # the manager is gone, which is no fault of ours
