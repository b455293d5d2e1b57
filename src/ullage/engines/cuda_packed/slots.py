"""Host memory through which batches go to the device and answers come back, in a few places, so that the next forward
is described and queued while the one before runs."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ullage.engines.base import Batch, Float32
from ullage.engines.cuda_packed.tensors import Tensor

SLOTS = 3
"""One forward runs, one is queued behind it, and one is being described."""


@dataclass(slots=True)
class Slot:
    """`numbers` int32 describe one batch (see `layout.write`), `answers` fp32 take its result; both pinned where a
    device reads them. `found` is the part of the answers that the batch fills, `done` the event after which it does."""

    numbers: Tensor
    answers: Tensor
    found: Tensor = None
    done: Any = None

    def keep(self, found: Tensor, stream: Any) -> None:
        """Queue the copy of `found` [rows, width] to the host."""
        self.found = self.answers[: found.numel()].view(found.shape)
        self.found.copy_(found, non_blocking=True)
        if stream is not None:
            self.done = self.done or torch.cuda.Event()
            self.done.record(stream)

    def wait(self) -> Float32:
        if self.done is not None:
            self.done.synchronize()
        return np.array(self.found.numpy())


class Slots:
    """`SLOTS` places on a device, one on the CPU. Several threads may run batches through them."""

    def __init__(self, numbers: int, answers: int, *, pinned: bool) -> None:
        self._free: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        for _ in range(SLOTS if pinned else 1):
            self._free.put(Slot(torch.empty(numbers, dtype=torch.int32, pin_memory=pinned),
                                torch.empty(answers, dtype=torch.float32, pin_memory=pinned)))

    def run(self, batches: Iterable[Batch], begin: Callable[[Batch, Slot], None]) -> list[Float32]:
        """What `begin` queues for each batch, in order; it describes a batch in a slot and lets the slot `keep` what
        comes of it."""
        found: list[Float32] = []
        under_way: deque[Slot] = deque()
        try:
            for batch in batches:
                under_way.append(self._take(under_way, found))
                begin(batch, under_way[-1])
            while under_way:
                found.append(self._end(under_way))
        finally:
            for slot in under_way:  # something failed: whatever is queued may still write there
                self._free.put(slot)
        return found

    def _take(self, under_way: deque[Slot], found: list[Float32]) -> Slot:
        """A free slot. Who has forwards under way frees one of its own rather than wait for another thread, which
        might wait for it."""
        while True:
            try:
                return self._free.get(block=not under_way)
            except queue.Empty:
                found.append(self._end(under_way))

    def _end(self, under_way: deque[Slot]) -> Float32:
        found = under_way[0].wait()
        self._free.put(under_way.popleft())
        return found
