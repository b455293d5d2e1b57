"""A supervisor that is killed takes its services with it."""

import os
import subprocess
import sys
import time

import psutil

from ullage.stack import child

SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from ullage.stack.services import Spec
from ullage.stack.supervisor import Supervisor
spec = Spec("rag", tuple(sys.argv[3:]), "127.0.0.1", int(sys.argv[1]))
supervisor = Supervisor([spec], Path(sys.argv[2]), lambda record: print(record.state, flush=True))
asyncio.run(supervisor.run(asyncio.Event()))
"""


def wait_gone(pid, seconds=20):
    deadline = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{pid} is still alive"
        time.sleep(0.02)


def test_no_service_outlives_a_killed_supervisor(services, tmp_path):
    spec = services.spec("rag", "deaf")
    command = [sys.executable, "-c", SUPERVISOR, str(spec.port), str(tmp_path), *spec.command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as supervisor:
        assert any(line.strip() == "ready" for line in supervisor.stdout)
        [service] = services.pids(spec)
        assert psutil.pid_exists(service)
        supervisor.kill()
    wait_gone(service)


def test_a_child_whose_supervisor_is_already_gone_does_not_start(tmp_path):
    witness = tmp_path / "started"
    nobody = str(os.getpid() + 1)
    launch = [sys.executable, "-I", "-S", child.__file__, nobody, "-", sys.executable, "-c",
              f"open({str(witness)!r}, 'w')"]
    assert subprocess.run(launch, check=False).returncode == 1
    assert not witness.exists()


def test_a_child_hears_interrupts_that_its_shell_ignored(tmp_path):
    heard = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    launch = [sys.executable, "-I", "-S", child.__file__, "PARENT", "-", sys.executable, "-c", heard]
    code = ("import os, signal, subprocess, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
            "print(subprocess.run([a if a != 'PARENT' else str(os.getpid()) for a in sys.argv[1:]], "
            "capture_output=True, text=True).stdout)")
    done = subprocess.run([sys.executable, "-c", code, *launch], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
