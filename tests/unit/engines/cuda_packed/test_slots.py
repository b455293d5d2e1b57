"""The places through which batches go to a device and come back."""

from __future__ import annotations

import numpy as np
import pytest

from checkpoints import torch
from ullage.engines.base import Batch, Row
from ullage.engines.cuda_packed.slots import Slot, Slots


def batches(*tokens: int) -> list[Batch]:
    return [Batch.lay([Row(np.full(n, n, np.int32))]) for n in tokens]


def sums(batch: Batch, slot: Slot) -> None:
    slot.numbers[: batch.tokens] = torch.from_numpy(batch.input_ids)
    slot.keep(slot.numbers[: batch.tokens].sum()[None, None].float(), None)


def test_answers_come_in_the_order_of_the_batches() -> None:
    found = Slots(8, 4, pinned=False).run(batches(3, 1, 5, 2), sums)
    assert [part.tolist() for part in found] == [[[9.0]], [[1.0]], [[25.0]], [[4.0]]]


def test_a_failure_leaves_every_slot_free() -> None:
    slots = Slots(8, 4, pinned=False)

    def failing(batch: Batch, slot: Slot) -> None:
        if batch.tokens == 2:
            raise RuntimeError("no")
        sums(batch, slot)

    for _ in range(3):
        with pytest.raises(RuntimeError, match="no"):
            slots.run(batches(1, 2), failing)
    assert [part.tolist() for part in slots.run(batches(4), sums)] == [[[16.0]]]
