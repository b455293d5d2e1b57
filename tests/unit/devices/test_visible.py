"""`CUDA_VISIBLE_DEVICES`, form by form."""

import os
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.cuda import _parse_visible_devices

from ullage.devices.machine import Gpu
from ullage.devices.visible import Board, Device, visible


def board(uuid, *slices):
    if slices:
        return Board(uuid, tuple(Device(Gpu(0, "slice", 2, 1, name, "mig"), (name,)) for name in slices))
    return Board(uuid, (Device(Gpu(0, "whole", 2, 1, uuid), (uuid,)),))


FOUR = [board("GPU-10a"), board("GPU-10b"), board("GPU-2c"), board("GPU-3d")]
SLICED = [board("GPU-10a", "MIG-a1", "MIG-a2"), board("GPU-10b"), board("GPU-2c", "MIG-c1")]


def names(boards, value):
    return [device.gpu.uuid for device in visible(boards, value)[0]]


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, ["GPU-10a", "GPU-10b", "GPU-2c", "GPU-3d"]),
        ("0", ["GPU-10a"]),
        ("2,0", ["GPU-2c", "GPU-10a"]),
        (" 2 , 0 ", ["GPU-2c", "GPU-10a"]),
        ("", []),
        ("-1", []),
        ("0,2,-1,1", ["GPU-10a", "GPU-2c"]),
        ("0,7,1", ["GPU-10a"]),
        ("NoDevFiles", []),
        ("0,,1", ["GPU-10a"]),
        ("0,1,0", []),
        ("1gpu,2", ["GPU-10b", "GPU-2c"]),
        ("GPU-2", ["GPU-2c"]),
        ("GPU-10", []),
        ("GPU-2C,GPU-10b", ["GPU-2c", "GPU-10b"]),
        ("GPU-2c,0", ["GPU-2c"]),
        ("0,GPU-2c", ["GPU-10a"]),
        ("GPU-2c,GPU-2", []),
        ("GPU-", []),
    ],
)
def test_whole_gpus(value, seen):
    assert names(FOUR, value) == seen


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (None, ["MIG-a1", "MIG-a2", "GPU-10b", "MIG-c1"]),
        ("MIG-c1", ["MIG-c1"]),
        ("MIG-c", ["MIG-c1"]),
        ("MIG-a", []),
        ("MIG-c1,MIG-a2", ["MIG-c1", "MIG-a2"]),
        ("MIG-c1,GPU-10b", ["MIG-c1"]),
        ("0", ["MIG-a1", "MIG-a2"]),
        ("GPU-10a", ["MIG-a1", "MIG-a2"]),
        ("GPU-10b", ["GPU-10b"]),
    ],
)
def test_slices(value, seen):
    assert names(SLICED, value) == seen


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "hides every GPU"),
        ("-1", "hides every GPU"),
        ("0,9", "CUDA_VISIBLE_DEVICES=0,9: 9 names no GPU here, so only the 1 before it are visible"),
        ("GPU-10", "GPU-10 names no GPU here, so no GPU is visible"),
        ("0,,1", "an empty entry names no GPU here"),
        ("0,0", "names 0 twice"),
    ],
)
def test_what_hides_a_gpu_is_said_in_one_line(value, said):
    [note] = visible(FOUR, value)[1]
    assert said in note
    assert "\n" not in note


@pytest.mark.parametrize("value", [None, "0", "3,2,1,0", "1,-1", "GPU-3d"])
def test_nothing_is_said_when_every_entry_counts(value):
    assert visible(FOUR, value)[1] == []


@pytest.mark.parametrize("value", ["GPU-", "MIG-", "gpu-10a"])
def test_a_prefix_alone_or_in_small_letters_names_nothing(value):
    assert names([board("GPU-10a")], value) == []
    assert names([board("GPU-10a", "MIG-a1")], value) == []


def test_a_machine_without_gpus_says_nothing():
    assert visible([], "0,1") == ([], [])


@given(st.lists(st.sampled_from(["0", "1", "2", "3", "-1", "", "+1", "2x", "x"]), max_size=6).map(",".join))
def test_ordinals_are_read_as_pytorch_reads_them(value):
    with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES=value):
        theirs = list(_parse_visible_devices())
    assert names(FOUR, value) == [FOUR[number].uuid for number in theirs]
