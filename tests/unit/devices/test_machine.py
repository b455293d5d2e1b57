"""What bounds the memory: the host, or a cgroup."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from ullage.devices import detect, rss_bytes


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_without_cgroups_the_host_counts(tmp_path):
    machine = detect(tmp_path)
    assert machine.limit == "host"
    assert machine.total_bytes == psutil.virtual_memory().total
    assert 0 < machine.free_bytes <= machine.total_bytes
    assert machine.cores >= 1


def test_a_v2_limit_bounds_and_page_cache_counts_as_free(tmp_path):
    write(tmp_path, memory_dot_max="268435456\n", memory_dot_current="134217728\n",
          memory_dot_stat="anon 1\ninactive_file 33554432\n")
    machine = detect(tmp_path)
    assert machine.total_bytes == 256 << 20
    assert machine.free_bytes == (256 - 128 + 32) << 20
    assert machine.limit == "memory.max"


def test_a_v1_limit_bounds(tmp_path):
    write(tmp_path, memory__memory_dot_limit_in_bytes="268435456", memory__memory_dot_usage_in_bytes="1048576")
    assert detect(tmp_path).free_bytes == 255 << 20


@pytest.mark.parametrize("unlimited", ["max", str(1 << 62)])
def test_no_limit_is_no_limit(tmp_path, unlimited):
    write(tmp_path, memory_dot_max=unlimited, memory_dot_current="1")
    assert detect(tmp_path).limit == "host"


def test_a_quota_rounds_up_to_whole_cores(tmp_path):
    write(tmp_path, cpu_dot_max="50000 100000")
    assert detect(tmp_path).cores == 1


def test_resident_memory_counts_children():
    alone = rss_bytes()
    code = "print('up', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert rss_bytes() > alone
        assert rss_bytes(child.pid) > 1 << 20
        child.communicate(b"\n")
    assert rss_bytes(child.pid) == 0
