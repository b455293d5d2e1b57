"""What cgroups v1 and v2 allow this process: memory and processor time, under the tightest of all ancestors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CGROUP = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")

UNLIMITED = 1 << 60
"""v1 writes the largest page-aligned 63-bit number for `no limit`; no machine has this much memory."""


@dataclass(frozen=True, slots=True)
class MemoryBound:
    """`limit_bytes` is the tightest limit and `file` the file that sets it; `free_bytes` is the least room left
    under any limit, page cache that can be dropped counted as free. Swap is not memory and is not counted."""

    limit_bytes: int
    free_bytes: int
    file: str


def memory_bound(cgroup: Path = CGROUP, own: Path = OWN) -> MemoryBound | None:
    """The bound that the process's own cgroup and its ancestors set, or None when nothing does."""
    found = [*_memory_v2(cgroup, own), *_memory_v1(cgroup, own)]
    if not found:
        return None
    tightest = min(found, key=lambda bound: bound.limit_bytes)
    return MemoryBound(tightest.limit_bytes, min(bound.free_bytes for bound in found), tightest.file)


def cpu_quota(cgroup: Path = CGROUP, own: Path = OWN) -> float | None:
    """Cores' worth of time the process may use, or None when nothing bounds it."""
    quotas = [quota for folder in _folders(cgroup, own, "") if (quota := _quota_v2(folder / "cpu.max"))]
    for folder in _folders(cgroup, own, "cpu"):
        allowed, period = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if allowed and period:
            quotas.append(allowed / period)
    return min(quotas, default=None)


def _memory_v2(cgroup: Path, own: Path) -> Iterator[MemoryBound]:
    for folder in _folders(cgroup, own, ""):
        # memory.high does not kill, it throttles to a crawl: room above it is of no use.
        for name in ("memory.max", "memory.high"):
            limit = _number(folder / name)
            if limit is not None:
                used = (_number(folder / "memory.current") or 0) - _stat(folder).get("inactive_file", 0)
                yield _bound(limit, used, cgroup, folder / name)


def _memory_v1(cgroup: Path, own: Path) -> Iterator[MemoryBound]:
    for folder in _folders(cgroup, own, "memory"):
        stat = _stat(folder)
        used = (_number(folder / "memory.usage_in_bytes") or 0) - stat.get(
            "total_inactive_file", stat.get("inactive_file", 0))
        # The kernel's own minimum over the ancestors, which a container may not see as files.
        above = stat.get("hierarchical_memory_limit", UNLIMITED)
        limit = _number(folder / "memory.limit_in_bytes")
        if limit is not None and limit < UNLIMITED:
            yield _bound(limit, used, cgroup, folder / "memory.limit_in_bytes")
        if above < min(UNLIMITED, limit or UNLIMITED):
            yield _bound(above, used, cgroup, folder / "memory.stat")


def _bound(limit: int, used: int, cgroup: Path, file: Path) -> MemoryBound:
    return MemoryBound(limit, min(limit, max(0, limit - max(0, used))), file.relative_to(cgroup).as_posix())


def _folders(cgroup: Path, own: Path, controller: str) -> Iterator[Path]:
    """The process's own cgroup folder and every ancestor's, up to the mount; `controller` is empty for v2."""
    names = _mounted_as(controller)
    base = next((cgroup / name for name in names if (cgroup / name).is_dir()), None)
    if base is None:
        return
    inside = _path_in_mount(own, controller)
    for part in (inside, *inside.parents):
        folder = base / part
        if folder.is_dir():
            yield folder


def _mounted_as(controller: str) -> tuple[str, ...]:
    # On a hybrid host v2 is mounted as `unified`, without the controllers that v1 has taken.
    if not controller:
        return ("unified", "")
    return (controller, "cpu,cpuacct", "cpuacct,cpu") if controller == "cpu" else (controller,)


def _path_in_mount(own: Path, controller: str) -> PurePosixPath:
    """The process's cgroup below the mount point. A container may see a mount that starts at its own cgroup."""
    path = PurePosixPath(_own_path(own, controller))
    root = PurePosixPath(_mount_root(own, controller))
    if path.is_relative_to(root):
        path = path.relative_to(root)
    # A path that starts with `..` lies outside of the cgroup namespace: nothing of it can be seen.
    if ".." in path.parts:
        return PurePosixPath()
    return path.relative_to("/") if path.is_absolute() else path


def _own_path(own: Path, controller: str) -> str:
    """The third field of the controller's line in /proc/self/cgroup; `/` when there is none."""
    for line in _lines(own):
        fields = line.split(":", 2)
        if len(fields) == 3 and controller in fields[1].split(","):
            return fields[2]
    return "/"


def _mount_root(own: Path, controller: str) -> str:
    """Which cgroup the mount point shows: the fourth field of its line in /proc/self/mountinfo."""
    for line in _lines(own.with_name("mountinfo")):
        mount, _, source = line.partition(" - ")
        fields, kind = mount.split(), source.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup" and controller and controller in kind[2].split(","):
            return fields[3]
        if kind[0] == "cgroup2" and not controller:
            return fields[3]
    return "/"


def _quota_v2(path: Path) -> float | None:
    fields = " ".join(_lines(path)).split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields) or int(fields[1]) == 0:
        return None
    return int(fields[0]) / int(fields[1])


def _stat(folder: Path) -> dict[str, int]:
    pairs = (line.split() for line in _lines(folder / "memory.stat"))
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _number(path: Path) -> int | None:
    """A file that holds one whole number; None for `max`, `-1`, or no such file."""
    text = " ".join(_lines(path)).strip()
    return int(text) if text.isdigit() else None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
