"""Resident memory of processes, now and at its peak."""

from __future__ import annotations

from pathlib import Path

import psutil

PROC = Path("/proc")


def rss_bytes(pid: int | None = None) -> int:
    """Resident memory of one process and its children, in bytes; 0 when it is gone."""
    try:
        process = psutil.Process(pid)
        return int(sum(p.memory_info().rss for p in [process, *process.children(recursive=True)]))
    except psutil.NoSuchProcess:
        return 0


def peak_rss_bytes(pid: int | None = None, proc: Path = PROC) -> int:
    """The most that one process, without its children, had resident since it started or since `reset_peak`, in
    bytes; 0 when it is gone. Linux: `VmHWM` of /proc/PID/status."""
    try:
        lines = (proc / _entry(pid) / "status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def reset_peak(pid: int | None = None, proc: Path = PROC) -> bool:
    """Start the peak anew from what is resident now; False where the kernel or its permissions do not allow it."""
    try:
        (proc / _entry(pid) / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _entry(pid: int | None) -> str:
    return "self" if pid is None else str(pid)
