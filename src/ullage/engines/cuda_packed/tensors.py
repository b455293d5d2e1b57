"""The records that models and kernels pass to each other: matrices, tables, operands, a packed batch, the workspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ullage.engines.base import Int32
from ullage.engines.cuda_packed.layout import Spaces

Tensor = Any
"""A torch.Tensor: torch carries types that a type checker here does not follow."""

FP8_LARGEST = 448.0
INT8_LARGEST = 127.0
LEAST_SCALE = 1e-12


@dataclass(slots=True)
class Matrix:
    """`values` [out, in] as published, `bias` [out] or None. FP8 values have `scales` [1, out] to be multiplied by."""

    values: Tensor
    bias: Tensor | None = None
    scales: Tensor | None = None

    def put(self, first: int, block: Tensor) -> None:
        """Keep `block` [n, in] as rows from `first`."""
        rows = slice(first, first + len(block))
        if self.scales is None:
            self.values[rows].copy_(block)
            return
        largest = block.abs().amax(dim=1, keepdim=True).float()
        scale = (largest / FP8_LARGEST).clamp_(min=LEAST_SCALE)
        self.values[rows].copy_((block.float() / scale).clamp_(-FP8_LARGEST, FP8_LARGEST))
        self.scales[0, rows].copy_(scale[:, 0])


@dataclass(slots=True)
class Table:
    """`values` [rows, hidden] to look up; int8 values have `scales` [rows]. It may lie in pinned host memory."""

    values: Tensor
    scales: Tensor | None = None

    def put(self, first: int, block: Tensor) -> None:
        rows = slice(first, first + len(block))
        if self.scales is None:
            self.values[rows].copy_(block)
            return
        scale = (block.abs().amax(dim=1, keepdim=True).float() / INT8_LARGEST).clamp_(min=LEAST_SCALE)
        self.values[rows].copy_((block.float() / scale).round_())
        self.scales[rows].copy_(scale[:, 0])


@dataclass(slots=True)
class Vector:
    """`values` [n], of a norm or a bias."""

    values: Tensor

    def put(self, first: int, block: Tensor) -> None:
        self.values[first : first + len(block)].copy_(block)


@dataclass(slots=True)
class Part:
    """Rows from `first` of another target: one published tensor of several that we keep side by side."""

    whole: Matrix | Vector
    first: int

    def put(self, first: int, block: Tensor) -> None:
        self.whole.put(self.first + first, block)


class Target(Protocol):
    """Where a tensor of a checkpoint goes, some rows at a time."""

    def put(self, first: int, block: Tensor) -> None: ...


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor that the checkpoint must hold: its published name and shape, and where it goes."""

    name: str
    shape: tuple[int, ...]
    target: Target


@dataclass(slots=True)
class Operand:
    """`values` [n, width] to multiply by a matrix; in FP8 with `scales` [n, 1]."""

    values: Tensor
    scales: Tensor | None = None


@dataclass(slots=True)
class Norm:
    """Scale and shift of a norm over the hidden width; `bias` is None where the family has none."""

    weight: Tensor
    epsilon: float
    bias: Tensor | None = None
    centred: bool = True
    """Whether the mean is taken off (LayerNorm) or not (RMSNorm)."""


@dataclass(slots=True)
class Packed:
    """One batch on the device: see `layout.write`. `lengths` are on the host, for the plain kernels."""

    room: Spaces
    ids: Tensor
    positions: Tensor
    types: Tensor
    tiles: Tensor
    rows: Tensor
    lengths: Int32

    @classmethod
    def view(cls, numbers: Tensor, room: Spaces, lengths: Int32) -> Packed:
        """`numbers` [at least room.numbers] int32, as `layout.write` fills them."""
        tokens, tiles = room.tokens, room.tiles
        at = 3 * (tokens + tiles)
        return cls(
            room,
            numbers[:tokens], numbers[tokens : 2 * tokens], numbers[2 * tokens : 3 * tokens],
            numbers[3 * tokens : at].view(tiles, 3), numbers[at : room.numbers].view(room.rows, 3), lengths,
        )


class Arena:
    """Memory taken in one piece and handed out in parts. Without a size it only counts."""

    ALIGN = 256

    def __init__(self, size: int | None, device: str) -> None:
        self.device = device
        self._room = None if size is None else torch.empty(size, dtype=torch.uint8, device=device)
        self.used = 0

    @property
    def counts(self) -> bool:
        """Whether this only counts, and its tensors hold nothing."""
        return self._room is None

    def take(self, *shape: int, dtype: Any) -> Tensor:
        """An uninitialised tensor; on the device `meta` when the arena only counts."""
        size = dtype.itemsize
        for n in shape:
            size *= n
        first = self.used
        self.used += -(-size // self.ALIGN) * self.ALIGN
        if self._room is None:
            return torch.empty(shape, dtype=dtype, device="meta")
        return self._room[first : first + size].view(dtype).view(shape)
