"""Machines that are not here."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.devices import (
    Disk,
    Gpu,
    Holder,
    Machine,
    detect,
    examples,
    find_machine,
    machine_as_dict,
    machine_as_yaml,
    read_machine,
)
from ullage.devices.device_file import FIELDS, LARGEST_BYTES
from ullage.errors import SettingsError

GIB = 1 << 30
MIB = 1 << 20
TEXTS = st.text(max_size=20)
SIZES = st.integers(1, LARGEST_BYTES)
MACHINE = "cores: 4\ntotal_bytes: 8GiB\nfree_bytes: 6GiB\nlimit: host\n"
CARD = "gpus:\n- {index: 0, name: L4, total_bytes: 24GiB, free_bytes: 20GiB%s}\n"


@st.composite
def some_gpus(draw):
    found = []
    for index in draw(st.lists(st.integers(0, 99), unique=True, max_size=3)):
        total = draw(SIZES)
        free = draw(st.integers(0, total))
        holders = st.builds(Holder, st.integers(0, (1 << 31) - 1), TEXTS, st.none() | st.integers(0, total))
        found.append(Gpu(
            index, draw(TEXTS), total, free, draw(TEXTS), draw(st.sampled_from(["gpu", "mig", "vgpu"])),
            draw(st.none() | st.tuples(st.integers(0, 20), st.integers(0, 9))),
            tuple(draw(st.lists(holders, max_size=3))), draw(st.booleans()), draw(st.integers(0, total - free))))
    return tuple(found)


@st.composite
def machines(draw):
    total, space = draw(SIZES), draw(SIZES)
    disk = Disk(draw(TEXTS), space, draw(st.integers(0, space)))
    texts = st.lists(TEXTS, max_size=2).map(tuple)
    return Machine(draw(st.integers(1, 256)), total, draw(st.integers(0, total)), draw(TEXTS), draw(some_gpus()),
                   draw(st.none() | st.just(disk)), draw(TEXTS), draw(TEXTS), draw(texts), draw(texts))


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "machine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("machines")


@given(machine=machines())
def test_what_is_written_is_read_back(folder, machine):
    (folder / "machine.yaml").write_text(machine_as_yaml(machine), encoding="utf-8")
    assert read_machine(folder / "machine.yaml") == machine


def test_this_machine_too(file):
    machine = dataclasses.replace(detect(), runtimes=("onnx",))
    assert dataclasses.replace(read_machine(file(machine_as_yaml(machine))), runtimes=("onnx",)) == machine


def test_every_field_of_the_data_is_a_name_in_the_file():
    for kind, parsers in FIELDS.items():
        # A file describes hardware: what is installed there is not in it.
        assert set(parsers) == {field.name for field in dataclasses.fields(kind)} - {"runtimes"}


def test_sizes_take_units_and_capabilities_no_quotes(file):
    card = CARD % ", compute: 8.9, reserved_bytes: 1 GiB, holders: [{pid: 7, name: vllm, held_bytes: 512MiB}]"
    [gpu] = read_machine(file(MACHINE + card)).gpus
    assert (gpu.total_bytes, gpu.reserved_bytes, gpu.compute) == (24 * GIB, GIB, (8, 9))
    assert gpu.holders == (Holder(7, "vllm", 512 * MIB),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MACHINE + "gpu: []", "gpu is unknown: did you mean gpus?"),
        (MACHINE + "zzz: 1", "zzz is unknown: known are cores, total_bytes"),
        (MACHINE + CARD % ", vram: 1", "gpus[0].vram is unknown"),
        (MACHINE + "runtimes: [onnx]", "runtimes is unknown"),
        ("cores: 4\nfree_bytes: 1\nlimit: host", "total_bytes is missing: write `total_bytes: 64GiB`"),
        (MACHINE + "gpus: [{index: 0}]", "gpus[0].name is missing"),
        (MACHINE + "disk: {path: /}", "disk.total_bytes is missing"),
        (MACHINE.replace("6GiB", "9GiB"), f"free_bytes={9 * GIB}: write at most total_bytes, {8 * GIB}"),
        (MACHINE + CARD.replace("20GiB", "25GiB") % "", f"gpus[0].free_bytes={25 * GIB}"),
        (MACHINE + "disk: {path: /, total_bytes: 1, free_bytes: 2}", "disk.free_bytes=2"),
        (MACHINE.replace("6GiB", "-1"), "free_bytes=-1: write bytes, or a number with its unit such as 80GiB, from 0"),
        (MACHINE.replace("6GiB", "'-1GiB'"), "free_bytes='-1GiB'"),
        (MACHINE.replace("6GiB", "lots"), "free_bytes='lots'"),
        (MACHINE.replace("6GiB", "6 GiBytes"), "free_bytes='6 GiBytes'"),
        (MACHINE.replace("6GiB", "true"), "free_bytes=True"),
        (MACHINE.replace("6GiB", "1.5"), "free_bytes=1.5"),
        (MACHINE.replace("6GiB", "null"), "free_bytes=None"),
        (MACHINE.replace("8GiB", "0").replace("6GiB", "0"), "total_bytes=0"),
        (MACHINE.replace("8GiB", "9e9GiB"), "total_bytes='9e9GiB'"),
        (MACHINE.replace("4", "0", 1), "cores=0: write a whole number from 1 to 65536"),
        (MACHINE.replace("4", "four", 1), "cores='four'"),
        (MACHINE.replace("4", "yes", 1), "cores=True"),
        (MACHINE.replace("host", "7"), "limit=7: write text, in quotes"),
        (MACHINE + CARD % ", kind: card", "gpus[0].kind='card': write one of gpu, mig, vgpu"),
        (MACHINE + CARD % ", kind: [gpu]", "gpus[0].kind=['gpu']"),
        (MACHINE + CARD % ", compute: ampere", "gpus[0].compute='ampere': write the compute capability"),
        (MACHINE + CARD % ", compute: 8", "gpus[0].compute=8"),
        (MACHINE + CARD % ", holders_known: 1", "gpus[0].holders_known=1: write true or false"),
        (MACHINE + CARD % ", holders: 7", "gpus[0].holders=7: write a list"),
        (MACHINE + CARD % ", holders: [7]", "gpus[0].holders[0]=7: write lines"),
        (MACHINE + CARD % ", holders: [{pid: 1, name: a, held_bytes: 25GiB}]", "gpus[0].holders[0].held_bytes="),
        (MACHINE + CARD % ", reserved_bytes: 5GiB", f"gpus[0].reserved_bytes={5 * GIB}: write at most"),
        (MACHINE + CARD % "" + CARD.removeprefix("gpus:\n") % "", "gpus[1].index=0: another GPU has it"),
        (MACHINE + "cores: 8", "line 5: cores is given twice"),
        (MACHINE + "disk: [", "machine.yaml, line"),
        (MACHINE + "limit: 2026-99-99", "machine.yaml"),
        ("", "content=None: write lines `name: value` with cores"),
        ("- 1", "content=[1]: write lines"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(file, text, said):
    path = file(text)
    with pytest.raises(SettingsError) as refused:
        read_machine(path)
    assert refused.value.message.startswith(f"device file {path}")
    assert said in refused.value.message
    assert "\n" not in refused.value.message


def test_all_faults_are_named_at_once(file):
    with pytest.raises(SettingsError) as refused:
        read_machine(file("cores: 0\ntotal_bytes: lots\nfree_bytes: 1\nspeed: fast\n"))
    for name in ("cores=0", "total_bytes='lots'", "speed is unknown", "limit is missing"):
        assert name in refused.value.message


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path, tmp_path / "binary.yaml", tmp_path / "none.yaml"):
        with pytest.raises(SettingsError, match="cannot be read"):
            read_machine(path)


def test_the_examples():
    found = {name: find_machine(name) for name in examples()}
    kinds = {name: [(gpu.kind, gpu.compute) for gpu in machine.gpus] for name, machine in found.items()}
    assert kinds == {
        "a100dx-80c-held": [("vgpu", (8, 0))],
        "two-a100dx-80c": [("vgpu", (8, 0))] * 2,
        "l4-24gb": [("gpu", (8, 9))],
        "rtx-3090": [("gpu", (8, 6))],
        "h100-mig-20gb": [("mig", (9, 0))],
        "t4": [("gpu", (7, 5))],
        "cpu-4gib-container": [],
    }
    held = found["a100dx-80c-held"].gpus[0]
    assert (held.total_bytes, held.held_bytes, held.holders_known) == (80 * GIB, 58 * GIB, False)
    assert found["two-a100dx-80c"].gpus[0] == held
    container = found["cpu-4gib-container"]
    assert (container.total_bytes, container.limit) == (4 * GIB, "memory.max")


def test_a_machine_is_found_by_name_or_by_path(file):
    path = file(MACHINE)
    assert find_machine(str(path)).cores == 4
    with pytest.raises(SettingsError, match="no example has that name: did you mean rtx-3090"):
        find_machine("rtx3090")
    with pytest.raises(SettingsError, match="examples are a100dx-80c-held, "):
        find_machine("/no/such/file")


def test_as_data_every_field_is_there():
    content = machine_as_dict(find_machine("rtx-3090"))
    assert set(content) == {field.name for field in dataclasses.fields(Machine)}
    [gpu] = content["gpus"]
    assert gpu["compute"] == "8.6"
    assert gpu["uuid"] == ""
    assert isinstance(gpu["holders"], list)


def test_every_fault_is_told_at_once_those_between_two_values_too(file):
    path = file("""
cores: -2
total_bytes: 1GiB
free_bytes: 2GiB
limit: host
foo: 1
bar: 2
gpus:
- {index: 0, name: A, total_bytes: -5MiB, free_bytes: 1}
- {index: 0, name: B, total_bytes: 4GiB, free_bytes: 8GiB, kind: quantum}
""")
    with pytest.raises(SettingsError) as refused:
        read_machine(path)
    said = refused.value.message.removeprefix(f"device file {path}: ").split("; ")
    assert [fault.split(":")[0] for fault in said] == [
        "foo, bar are unknown", "cores=-2", "gpus[0].total_bytes='-5MiB'", "gpus[1].kind='quantum'",
        "gpus[1].free_bytes=8589934592", "free_bytes=2147483648", "gpus[1].index=0", "give each its own"]
    assert "\n" not in refused.value.message


def test_a_folder_is_no_device_file(tmp_path):
    with pytest.raises(SettingsError, match="is a folder or a device, and no example has that name: examples are"):
        find_machine(str(tmp_path))
