import json
import os
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest

from ullage.errors import SettingsError
from ullage.stack.state import (
    ServiceRecord,
    StackRecord,
    clear_leftovers,
    is_running,
    only_stack,
    read_record,
    run_file,
    write_record,
)

OWN_START = psutil.Process().create_time()


def record(pid=None, started=OWN_START):
    service = ServiceRecord("ranking", "127.0.0.1", 1976, "http", "cpu-int8-t512-s512", {"fixed": 100, "weights": 23},
                            log="ranking.log", state="ready", pid=4711, started_unix_s=12.5, restarts=2)
    return StackRecord(pid or os.getpid(), started, 1 << 30, "memory", (service,))


@pytest.fixture
def state_dir(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path


def test_what_was_written_is_read(state_dir):
    write_record(state_dir, record())
    assert read_record(state_dir) == record()
    assert read_record(state_dir).services[0].predicted_bytes == 123
    assert [file.name for file in (state_dir / "run").iterdir()] == ["stack.json"]


def test_no_file_is_no_stack(state_dir):
    assert read_record(state_dir) is None


def test_the_file_of_a_dead_supervisor_is_no_stack(state_dir):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    write_record(state_dir, record(pid=gone.pid))
    assert read_record(state_dir) is None


def test_a_later_process_with_the_same_number_is_not_the_supervisor(state_dir):
    write_record(state_dir, record(started=OWN_START - 60))
    assert read_record(state_dir) is None
    assert not is_running(os.getpid(), OWN_START - 60)
    assert is_running(os.getpid(), OWN_START)


def test_a_zombie_is_not_running():
    process = subprocess.Popen([sys.executable, "-c", ""])
    started = psutil.Process(process.pid).create_time()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_running(process.pid, started)
    process.wait()


@pytest.mark.parametrize("content", ["", "{", "[]", json.dumps({"pid": "me"})])
def test_a_strange_run_file_is_refused_by_name(state_dir, content):
    run_file(state_dir).write_text(content)
    with pytest.raises(SettingsError, match="is not a run file of this version"):
        read_record(state_dir)


def test_one_stack_a_state_dir(tmp_path):
    with only_stack(tmp_path):
        with pytest.raises(SettingsError, match=f"already runs on {tmp_path}, pid {os.getpid()}"), only_stack(tmp_path):
            pass
        write_record(tmp_path, record())
    assert not run_file(tmp_path).exists()
    with only_stack(tmp_path):
        pass


def test_a_killed_holder_frees_the_state_dir(tmp_path):
    code = ("import sys, pathlib\nfrom ullage.stack.state import only_stack\n"
            "with only_stack(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()")
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SettingsError, match=f"pid {holder.pid}"), only_stack(tmp_path):
            pass
        holder.kill()
    with only_stack(tmp_path):
        pass


def test_a_state_dir_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"), only_stack(tmp_path / "file"):
        pass


def test_what_a_killed_stack_left_is_told_once_and_cleared(state_dir):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as orphan:
        started = psutil.Process(orphan.pid).create_time()
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        left = record(pid=gone.pid)
        service = replace(left.services[0], pid=orphan.pid, started_unix_s=started)
        write_record(state_dir, replace(left, services=(service,)))
        (state_dir / "run" / "ranking-1.sock").touch()
        said = clear_leftovers(state_dir)
        assert not is_running(orphan.pid, started)
    assert said.startswith(f"the stack of pid {gone.pid} ended without being stopped, after 2")
    assert "ranking ready (2 restarts); still running and killed now: ranking" in said
    assert not (state_dir / "run" / "ranking-1.sock").exists()


def test_a_stranger_with_an_old_number_is_left_alone(state_dir):
    write_record(state_dir, replace(record(), services=(replace(record().services[0], pid=os.getpid()),)))
    assert clear_leftovers(state_dir).endswith(": ranking ready (2 restarts)")


def test_a_stack_that_was_stopped_left_nothing(state_dir):
    assert clear_leftovers(state_dir) == ""
