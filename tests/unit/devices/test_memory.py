"""Resident memory, now and at its peak."""

import subprocess
import sys

import pytest

from ullage.devices import peak_rss_bytes, reset_peak, rss_bytes

MIB = 1 << 20
UP = "print('up', flush=True); input()"


@pytest.fixture
def child():
    """Start Python with some code that says `up` and waits."""
    started = []

    def start(code):
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == b"up\n"
        return process

    yield start
    for process in started:
        process.communicate(b"\n" if process.poll() is None else None)


def test_resident_memory_counts_children_and_a_gone_process_has_none(child):
    alone = rss_bytes()
    process = child(UP)
    assert rss_bytes() > alone
    assert rss_bytes(process.pid) > MIB
    process.communicate(b"\n")
    assert (rss_bytes(process.pid), peak_rss_bytes(process.pid)) == (0, 0)


def test_the_peak_outlives_what_was_freed_until_it_is_reset(child):
    process = child(f"x = bytes({64 * MIB}); y = bytearray(x); del x, y; {UP}")
    assert peak_rss_bytes(process.pid) >= rss_bytes(process.pid) + 48 * MIB
    assert reset_peak(process.pid)
    assert peak_rss_bytes(process.pid) < rss_bytes(process.pid) + 16 * MIB


def test_where_the_kernel_does_not_tell_there_is_no_peak(tmp_path):
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "status").write_text("Name:\tpython\nVmRSS:\t  12 kB\n")
    assert peak_rss_bytes(proc=tmp_path) == 0
    (tmp_path / "self" / "clear_refs").mkdir()
    assert not reset_peak(proc=tmp_path)


def test_the_figure_is_that_of_the_kernel(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "status").write_text("VmHWM:\t  2048 kB\n")
    assert peak_rss_bytes(7, tmp_path) == 2 * MIB
    assert reset_peak(7, tmp_path)
    assert (tmp_path / "7" / "clear_refs").read_text() == "5"
