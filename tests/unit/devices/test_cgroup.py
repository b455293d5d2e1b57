"""What cgroups allow: own group and ancestors, v1 and v2, as a host and as a container see them."""

from pathlib import Path

import pytest

from ullage.devices.cgroup import cpu_quota, memory_bound

MIB = 1 << 20


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return folder


@pytest.fixture
def own(tmp_path):
    """Where the process says which cgroups it is in: `own(lines, mounts)`."""

    def tell(*lines: str, mounts: str = "") -> Path:
        write(tmp_path / "proc", {"cgroup": "\n".join(lines), "mountinfo": mounts})
        return tmp_path / "proc" / "cgroup"

    return tell


def test_without_cgroups_nothing_bounds(tmp_path, own):
    assert memory_bound(tmp_path / "no", own()) is None
    assert cpu_quota(tmp_path / "no", own()) is None
    assert memory_bound(tmp_path / "no", tmp_path / "no") is None


def test_a_v2_limit_bounds_and_page_cache_counts_as_free(tmp_path, own):
    tree = write(tmp_path / "tree", {"memory.max": 256 * MIB, "memory.current": 128 * MIB,
                                     "memory.stat": f"anon 1\ninactive_file {32 * MIB}"})
    bound = memory_bound(tree, own("0::/"))
    assert (bound.limit_bytes, bound.free_bytes, bound.file) == (256 * MIB, (256 - 128 + 32) * MIB, "memory.max")


def test_swap_is_not_memory(tmp_path, own):
    tree = write(tmp_path / "tree", {"memory.max": 256 * MIB, "memory.current": 56 * MIB, "memory.swap.max": 999 * MIB})
    assert memory_bound(tree, own("0::/")).free_bytes == 200 * MIB


def test_throttling_bounds_as_killing_does(tmp_path, own):
    tree = write(tmp_path / "tree", {"memory.max": 256 * MIB, "memory.high": 100 * MIB, "memory.current": 0})
    bound = memory_bound(tree, own("0::/"))
    assert (bound.limit_bytes, bound.file) == (100 * MIB, "memory.high")


def test_the_tightest_ancestor_bounds_whatever_its_place(tmp_path, own):
    tree = write(tmp_path / "tree", {
        "a/memory.max": 512 * MIB, "a/memory.current": 500 * MIB,
        "a/b/memory.max": 256 * MIB, "a/b/memory.current": 16 * MIB,
        "a/b/c/memory.max": "max", "a/b/c/memory.current": 8 * MIB,
        "other/memory.max": MIB,
    })
    bound = memory_bound(tree, own("0::/a/b/c"))
    assert (bound.limit_bytes, bound.file) == (256 * MIB, "a/b/memory.max")
    # The wider limit has less room left below it: others in `a` have taken it.
    assert bound.free_bytes == 12 * MIB


def test_a_group_over_its_limit_has_nothing_free(tmp_path, own):
    tree = write(tmp_path / "tree", {"memory.max": MIB, "memory.current": 2 * MIB})
    assert memory_bound(tree, own("0::/")).free_bytes == 0


def test_a_v1_limit_bounds_and_its_own_total_counts_as_reclaimable(tmp_path, own):
    tree = write(tmp_path / "tree", {
        "memory/docker/x/memory.limit_in_bytes": 256 * MIB, "memory/docker/x/memory.usage_in_bytes": 128 * MIB,
        "memory/docker/x/memory.stat": f"inactive_file 1\ntotal_inactive_file {32 * MIB}",
        "memory/memory.limit_in_bytes": 9223372036854771712, "memory/memory.usage_in_bytes": 900 * MIB,
    })
    bound = memory_bound(tree, own("4:memory:/docker/x", "0::/ignored"))
    assert (bound.limit_bytes, bound.free_bytes) == (256 * MIB, 160 * MIB)
    assert bound.file == "memory/docker/x/memory.limit_in_bytes"


@pytest.mark.parametrize("file", ["memory.max", "memory/memory.limit_in_bytes"])
@pytest.mark.parametrize("unlimited", ["max", 9223372036854771712, -1, ""])
def test_no_limit_is_no_limit(tmp_path, own, file, unlimited):
    if file == "memory.max" and isinstance(unlimited, int) and unlimited > 0:
        unlimited = "max"  # v2 has a word for it
    assert memory_bound(write(tmp_path / "tree", {file: unlimited}), own("0::/", "4:memory:/")) is None


def test_a_v1_limit_above_what_the_container_sees_is_told_by_the_kernel(tmp_path, own):
    tree = write(tmp_path / "tree", {
        "memory/memory.limit_in_bytes": 9223372036854771712, "memory/memory.usage_in_bytes": 10 * MIB,
        "memory/memory.stat": f"hierarchical_memory_limit {64 * MIB}",
    })
    bound = memory_bound(tree, own("4:memory:/"))
    assert (bound.limit_bytes, bound.free_bytes, bound.file) == (64 * MIB, 54 * MIB, "memory/memory.stat")


def test_a_container_sees_a_mount_that_starts_at_its_own_group(tmp_path, own):
    tree = write(tmp_path / "tree", {"memory/memory.limit_in_bytes": 256 * MIB,
                                     "memory/inner/memory.limit_in_bytes": 128 * MIB})
    mounts = ("36 35 0:31 /docker/x /sys/fs/cgroup/memory ro,nosuid master:9 - cgroup cgroup rw,memory\n"
              "35 34 0:30 / /sys/fs/cgroup ro - tmpfs tmpfs rw,mode=755")
    assert memory_bound(tree, own("4:memory:/docker/x/inner", mounts=mounts)).limit_bytes == 128 * MIB
    assert memory_bound(tree, own("4:memory:/docker/x", mounts=mounts)).limit_bytes == 256 * MIB
    # Without the mount's word the path leads nowhere, and what is mounted is taken for the group itself.
    assert memory_bound(tree, own("4:memory:/docker/x")).limit_bytes == 256 * MIB


def test_a_path_outside_of_the_namespace_is_not_followed(tmp_path, own):
    write(tmp_path, {"secret/memory.max": MIB})
    tree = write(tmp_path / "tree", {"memory.max": 256 * MIB})
    assert memory_bound(tree, own("0::/../secret")).limit_bytes == 256 * MIB


def test_a_hybrid_host_has_v2_beside_v1(tmp_path, own):
    tree = write(tmp_path / "tree", {"unified/user/memory.max": 64 * MIB, "memory/memory.limit_in_bytes": 128 * MIB})
    assert memory_bound(tree, own("0::/user", "4:memory:/")).limit_bytes == 64 * MIB


@pytest.mark.parametrize(
    ("files", "lines", "quota"),
    [
        ({"cpu.max": "150000 100000"}, ["0::/"], 1.5),
        ({"cpu.max": "max 100000"}, ["0::/"], None),
        ({"a/cpu.max": "100000 100000", "a/b/cpu.max": "400000 100000"}, ["0::/a/b"], 1.0),
        ({"cpu/cpu.cfs_quota_us": 50000, "cpu/cpu.cfs_period_us": 100000}, ["1:cpu:/"], 0.5),
        ({"cpu/cpu.cfs_quota_us": -1, "cpu/cpu.cfs_period_us": 100000}, ["1:cpu:/"], None),
        ({"cpu,cpuacct/x/cpu.cfs_quota_us": 300000, "cpu,cpuacct/x/cpu.cfs_period_us": 100000},
         ["1:cpu,cpuacct:/x"], 3.0),
    ],
)
def test_processor_time(tmp_path, own, files, lines, quota):
    assert cpu_quota(write(tmp_path / "tree", files), own(*lines)) == quota
