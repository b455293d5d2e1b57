"""GPUs as NVML tells of them, with drivers that tell little."""

import pynvml
import pytest

from fake_nvml import (
    GIB,
    GPU_LOST,
    MISMATCH,
    NO_LIBRARY,
    NO_PERMISSION,
    NOT_SUPPORTED,
    Card,
    FakeNvml,
    NVMLError,
    process,
)
from ullage.devices import Holder, gpus

L4 = {"name": "NVIDIA L4", "total": 24 * GIB, "free": 23 * GIB, "compute": (8, 9), "cores": 7424, "clock_mhz": 2040}
PROCESSES = ("GetComputeRunningProcesses", "GetGraphicsRunningProcesses")


def seen(*cards, environ=None, **driver):
    nvml = FakeNvml(*cards, **driver)
    found = gpus(nvml, environ or {})
    assert nvml.opened == 0
    return found


def only(*cards, **driver):
    [gpu] = seen(*cards, **driver).gpus
    return gpu


def test_without_a_driver_there_are_no_gpus_and_nothing_to_say():
    found = seen(init=NO_LIBRARY)
    assert (found.gpus, found.notes) == ((), ())


def test_a_container_that_was_meant_to_have_gpus_is_told_that_it_has_none():
    [note] = seen(init=NO_LIBRARY, environ={"NVIDIA_VISIBLE_DEVICES": "all"}).notes
    assert note.startswith("NVIDIA_VISIBLE_DEVICES=all, yet there is no NVIDIA driver (NVML Shared Library Not Found)")


def test_a_driver_that_does_not_start_is_said():
    [note] = seen(init=MISMATCH).notes
    assert "version mismatch" in note


def test_a_driver_that_does_not_count_is_said():
    found = seen(Card(), count=GPU_LOST)
    assert (found.gpus, len(found.notes)) == ((), 1)
    assert "GPU is lost" in found.notes[0]


def test_a_whole_gpu():
    card = Card(computing=[process(7, 2 * GIB)], free=77 * GIB, mig=False)
    found = seen(card, names={7: "/usr/bin/python3 serve.py"})
    [gpu] = found.gpus
    assert (gpu.index, gpu.name, gpu.uuid) == (0, "NVIDIA H100 80GB HBM3", "GPU-0a")
    assert (gpu.kind, gpu.compute) == ("gpu", (9, 0))
    assert (gpu.total_bytes, gpu.free_bytes, gpu.reserved_bytes) == (80 * GIB, 77 * GIB, GIB // 2)
    assert gpu.held_bytes == 80 * GIB - 77 * GIB - GIB // 2
    assert gpu.holders == (Holder(7, "python3", 2 * GIB),)
    assert gpu.holders_known
    assert found.notes == ()


def test_an_old_driver_does_not_tell_its_reserve():
    gpu = only(Card(), old=True)
    assert (gpu.total_bytes, gpu.reserved_bytes) == (80 * GIB, 0)
    assert gpu.holders_known


def test_a_process_that_computes_and_draws_is_one_holder_and_the_largest_comes_first():
    gpu = only(Card(computing=[process(1, GIB), process(2, 5 * GIB)], drawing=[process(1, 3 * GIB), process(3, GIB)],
                    free=70 * GIB), names={1: "a", 2: "b"})
    assert gpu.holders == (Holder(2, "b", 5 * GIB), Holder(1, "a", 3 * GIB), Holder(3, "", GIB))


@pytest.mark.parametrize("untold", [None, pynvml.NVML_VALUE_NOT_AVAILABLE_ulonglong.value])
def test_bytes_the_driver_does_not_tell_are_none(untold):
    gpu = only(Card(computing=[process(1, untold)], free=70 * GIB))
    assert gpu.holders == (Holder(1, ""),)
    assert not gpu.holders_known


def test_the_figure_of_one_list_counts_when_the_other_has_none():
    gpu = only(Card(computing=[process(1, None)], drawing=[process(1, GIB)]))
    assert gpu.holders == (Holder(1, "", GIB),)


def test_memory_that_no_process_accounts_for_means_that_holders_are_not_known():
    assert not only(Card(free=70 * GIB)).holders_known
    assert not only(Card(free=70 * GIB, computing=[process(1, 5 * GIB)])).holders_known
    assert only(Card(free=70 * GIB, computing=[process(1, 9 * GIB)])).holders_known


@pytest.mark.parametrize("error", [NOT_SUPPORTED, NO_PERMISSION, GPU_LOST])
def test_a_vgpu_whose_driver_does_not_tell_of_processes(error):
    card = Card("GRID A100DX-80C", total=80 * GIB, free=22 * GIB, compute=(8, 0),
                refusals=dict.fromkeys(PROCESSES, error))
    found = seen(card)
    [gpu] = found.gpus
    assert (gpu.kind, gpu.free_bytes, gpu.holders, gpu.holders_known) == ("vgpu", 22 * GIB, (), False)
    assert found.notes == (f"GPU 0 GRID A100DX-80C: the driver does not say who holds memory ({error})",)


def test_a_vgpu_by_its_mode():
    assert only(Card("NVIDIA L40S-48C", virtualization=pynvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU)).kind == "vgpu"
    assert only(Card(virtualization=pynvml.NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH)).kind == "gpu"


@pytest.mark.parametrize("call", [
    "GetName", "GetUUID", "GetCudaComputeCapability", "GetVirtualizationMode", "GetMaxClockInfo", "GetNumGpuCores",
    *PROCESSES,
])
@pytest.mark.parametrize("error", [NOT_SUPPORTED, NO_PERMISSION, GPU_LOST, NVMLError(999, "Unknown Error")])
def test_no_single_refusal_loses_the_gpu(call, error):
    gpu = only(Card(refusals={call: error}))
    assert (gpu.total_bytes, gpu.free_bytes) == (80 * GIB, 79 * GIB + GIB // 2)
    assert gpu.compute == (None if call == "GetCudaComputeCapability" else (9, 0))
    assert gpu.holders_known == (call != PROCESSES[0])


def test_a_gpu_whose_memory_is_not_told_is_left_out_with_the_reason():
    cards = (Card("NVIDIA GB10", refusals={"GetMemoryInfo": NOT_SUPPORTED}), Card(uuid="GPU-0b"))
    found = seen(*cards, environ={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert [gpu.uuid for gpu in found.gpus] == ["GPU-0b"]
    assert found.notes[0] == "GPU 0 NVIDIA GB10 is left out: the driver does not tell its memory (Not Supported)"


def test_a_lost_gpu_is_left_out_with_the_reason_and_keeps_its_number():
    found = seen(Card(uuid="GPU-0a"), Card(uuid="GPU-0b"), Card(uuid="GPU-0c"), lost=(1,),
                 environ={"CUDA_VISIBLE_DEVICES": "2"})
    assert [(gpu.index, gpu.uuid) for gpu in found.gpus] == [(0, "GPU-0c")]
    assert found.notes == ("GPU 1 is left out: the driver does not open it (GPU is lost)",)


def sliced(**changes):
    parts = {place: Card("NVIDIA H100 80GB HBM3 MIG 1g.20gb", f"MIG-{place}", total=20 * GIB, free=19 * GIB,
                         computing=[process(40 + place, GIB // 2)], ids=(place + 3, 0)) for place in (0, 2)}
    return Card(mig=True, slices=parts, **changes)


def test_each_slice_is_a_device_and_its_board_is_none():
    found = seen(sliced(), Card(uuid="GPU-0b"))
    assert [(gpu.index, gpu.kind, gpu.uuid) for gpu in found.gpus] == [
        (0, "mig", "MIG-0"), (1, "mig", "MIG-2"), (2, "gpu", "GPU-0b")]
    part = found.gpus[1]
    assert (part.total_bytes, part.free_bytes, part.compute) == (20 * GIB, 19 * GIB, (9, 0))
    assert part.holders == (Holder(42, "", GIB // 2),)
    assert "one MIG slice only" in found.notes[-1]


def test_a_board_in_mig_mode_without_slices_is_left_out():
    found = seen(Card(mig=True))
    assert found.gpus == ()
    assert "it is in MIG mode and has no slice" in found.notes[0]


@pytest.mark.parametrize("value", ["MIG-2", "MIG-GPU-0a/5/0"])
def test_one_slice_made_visible_by_any_of_its_names(value):
    found = seen(sliced(), environ={"CUDA_VISIBLE_DEVICES": value})
    assert [(gpu.index, gpu.uuid) for gpu in found.gpus] == [(0, "MIG-2")]
    assert found.notes == ()


def test_visible_devices_give_the_numbers():
    cards = (Card(uuid="GPU-0a"), Card(uuid="GPU-0b"), Card(uuid="GPU-0c"))
    found = seen(*cards, environ={"CUDA_VISIBLE_DEVICES": "2,0"})
    assert [(gpu.index, gpu.uuid) for gpu in found.gpus] == [(0, "GPU-0c"), (1, "GPU-0a")]
    assert found.notes == ()


def test_unlike_gpus_are_numbered_fastest_first_unless_by_bus():
    cards = (Card(uuid="GPU-0b", **L4), Card(uuid="GPU-0a"))
    found = seen(*cards)
    assert [gpu.name for gpu in found.gpus] == ["NVIDIA H100 80GB HBM3", "NVIDIA L4"]
    assert "set CUDA_DEVICE_ORDER=PCI_BUS_ID" in found.notes[0]
    found = seen(*cards, environ={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert ([gpu.name for gpu in found.gpus], found.notes) == (["NVIDIA L4", "NVIDIA H100 80GB HBM3"], ())
    found = seen(*cards, environ={"CUDA_VISIBLE_DEVICES": "0"})
    assert [gpu.name for gpu in found.gpus] == ["NVIDIA H100 80GB HBM3"]


def test_like_gpus_keep_the_order_of_the_bus():
    found = seen(Card(uuid="GPU-0a", clock_mhz=1), Card(uuid="GPU-0b"))
    assert ([gpu.uuid for gpu in found.gpus], found.notes) == (["GPU-0a", "GPU-0b"], ())


def test_none_hides_and_void_does_not():
    found = seen(Card(), environ={"NVIDIA_VISIBLE_DEVICES": "none"})
    assert found.gpus == ()
    assert found.notes[0].startswith("NVIDIA_VISIBLE_DEVICES=none hides every GPU")
    # Device plugins that hand GPUs in by CDI set `void` to keep a second injector away.
    assert only(Card(), environ={"NVIDIA_VISIBLE_DEVICES": "void"}).total_bytes == 80 * GIB
    assert "NVIDIA_VISIBLE_DEVICES=void" in seen(init=NO_LIBRARY, environ={"NVIDIA_VISIBLE_DEVICES": "void"}).notes[0]


def test_the_real_binding_answers_on_this_machine():
    for gpu in gpus().gpus:
        assert 0 <= gpu.free_bytes <= gpu.total_bytes
