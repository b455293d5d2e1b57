"""This machine as it is, and as a container with limits would find it."""

import os
import subprocess
import sys

import psutil
import pytest

from ullage.devices import Machine, detect, machine_as_yaml

CPUINFO = """processor\t: 0
model name\t: Some Processor @ 2.00GHz
flags\t\t: fpu avx2 avx512_vnni amx_tile nonsense

processor\t: 1
model name\t: Another
flags\t\t: avx_vnni
"""


@pytest.fixture
def tree(tmp_path):
    """A cgroup v2 tree whose root group has these files, and this process in it: `tree(**files)`."""

    def make(**files):
        for name, text in files.items():
            (tmp_path / name.replace("_", ".")).write_text(text)
        (tmp_path / "own").write_text("0::/\n")
        return tmp_path, tmp_path / "own"

    return make


def test_without_limits_the_host_counts(tree):
    machine = detect(*tree())
    assert (machine.limit, machine.total_bytes) == ("host", psutil.virtual_memory().total)
    assert 0 < machine.free_bytes <= machine.total_bytes
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.disk is None


def test_a_limit_bounds_total_and_free(tree):
    machine = detect(*tree(memory_max="4194304", memory_current="1048576"))
    assert (machine.total_bytes, machine.free_bytes, machine.limit) == (4194304, 3145728, "memory.max")


def test_a_limit_above_the_host_is_none(tree):
    assert detect(*tree(memory_max=str(1 << 50), memory_current="1")).limit == "host"


@pytest.mark.parametrize("quota", ["10000 100000", "100000 100000"])
def test_a_quota_rounds_up_to_whole_cores(tree, quota):
    assert detect(*tree(cpu_max=quota)).cores == 1


def test_cores_are_those_the_process_may_run_on():
    one = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{one}}}); from ullage.devices import detect; print(detect().cores)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_the_processor_is_named_with_the_flags_that_matter(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO)
    machine = detect(cpuinfo=path)
    assert machine.cpu_model == "Some Processor @ 2.00GHz"
    assert machine.cpu_flags == ("avx2", "avx512_vnni", "amx_tile")
    path.write_text("processor\t: 0\nFeatures\t: fp asimd asimddp i8mm\n")
    machine = detect(cpuinfo=path)
    assert (machine.cpu_model, machine.cpu_flags) == ("", ("asimd", "asimddp", "i8mm"))
    assert detect(cpuinfo=tmp_path / "no").cpu_flags == ()


def test_the_disk_is_that_of_the_nearest_folder_there_is(tmp_path):
    disk = detect(cache_dir=tmp_path / "not" / "yet").disk
    assert disk.path == str(tmp_path)
    assert 0 <= disk.free_bytes <= disk.total_bytes == psutil.disk_usage(str(tmp_path)).total


def test_detect_answers_a_machine_that_can_be_written_down():
    machine = detect()
    assert isinstance(machine, Machine)
    assert f"cores: {machine.cores}" in machine_as_yaml(machine)
