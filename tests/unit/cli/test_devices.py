"""`ullage devices`: this machine, an example, and a file that a plan can be made from."""

import pytest

from ullage.cli.devices import held_by
from ullage.devices import Gpu, Holder, find_machine, read_machine

GIB = 1 << 30


def test_this_machine_with_its_cache_disk(ullage):
    shown = ullage("devices").out
    machine = ullage("devices", "--json").json
    assert f"{machine['name']}: {machine['cores']} cores" in shown
    assert f"(limit: {machine['limit']})" in shown
    assert f"disk of {machine['disk']['path']}: " in shown
    assert "a100dx-80c-held" in machine["examples"]


def test_an_example_shows_who_holds_what(ullage):
    shown = ullage("devices", "--device-file", "rtx-3090").out
    [line] = [line for line in shown.splitlines() if line.startswith("cuda:0")]
    for said in ("NVIDIA GeForce RTX 3090", "8.6", "24,576 MiB", "23,400 MiB", "Xorg (pid 1234) 600 MiB"):
        assert said in line
    assert "59,392 MiB in all, the driver does not say by whom" in ullage(
        "devices", "--device-file", "a100dx-80c-held").out
    assert "no GPU" in ullage("devices", "--device-file", "cpu-4gib-container").out


def test_what_a_server_prints_a_laptop_reads(ullage, tmp_path):
    path = tmp_path / "server.yaml"
    path.write_text(ullage("devices", "--device-file", "two-a100dx-80c", "--yaml").out, encoding="utf-8")
    assert read_machine(path) == find_machine("two-a100dx-80c")
    path.write_text(ullage("devices", "--yaml").out, encoding="utf-8")
    assert read_machine(path).name != "this machine"
    assert ullage("devices", "--device-file", path).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--device-file", "rtx3090"], "did you mean rtx-3090?"),
        (["--json", "--yaml"], "keep one of them"),
    ],
)
def test_what_cannot_be_shown_is_refused(ullage, arguments, said):
    ran = ullage("devices", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.refusal


@pytest.mark.parametrize(
    ("holders", "known", "said"),
    [
        ((), True, "nobody"),
        ((), False, "2,048 MiB in all, the driver does not say by whom"),
        ((Holder(1, "a", GIB), Holder(2, "")), False,
         "a (pid 1) 1,024 MiB, a process (pid 2), 2,048 MiB in all, the driver does not say the rest"),
    ],
)
def test_who_holds_a_gpu(holders, known, said):
    assert held_by(Gpu(0, "L4", 24 * GIB, 22 * GIB, holders=holders, holders_known=known)) == said
