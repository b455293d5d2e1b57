"""The records that models and kernels pass to each other: matrices, tables, operands, a packed batch, the workspace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ullage.engines.base import Int32
from ullage.engines.cuda_packed.layout import Spaces, rounded

Tensor = Any
"""A torch.Tensor: torch carries types that a type checker here does not follow."""

FP8_LARGEST = 448.0
INT8_LARGEST = 127.0
LEAST_SCALE = 1e-12


@dataclass(slots=True)
class Matrix:
    """`values` [out, in] as published, `bias` [out] or None. FP8 values have `scales` [1, out] to be multiplied by.

    int8 values have `scales` [out, groups], one for each group of a row's columns, and `room` [n, in], which all such
    matrices share: `n` rows at a time are multiplied out into it before they are used.
    """

    values: Tensor
    bias: Tensor | None = None
    scales: Tensor | None = None
    room: Tensor | None = None

    def parts(self, expand: Callable[[Tensor, Tensor, Tensor], None]) -> Iterator[tuple[slice, Matrix]]:
        """Of an int8 matrix, the rows that `room` holds at a time, as a matrix of numbers until the next is asked for.

        `expand` takes values [n, in], scales [n, groups] and where the numbers go [n, in].
        """
        assert self.scales is not None
        assert self.room is not None
        for first in range(0, len(self.values), len(self.room)):
            rows = slice(first, min(first + len(self.room), len(self.values)))
            found = self.room[: rows.stop - first]
            expand(self.values[rows], self.scales[rows], found)
            yield rows, Matrix(found, None if self.bias is None else self.bias[rows])

    def put(self, first: int, block: Tensor) -> None:
        """Keep `block` [n, in] as rows from `first`."""
        rows = slice(first, first + len(block))
        if self.scales is None:
            self.values[rows].copy_(block)
            return
        if self.room is not None:
            groups = block.float().view(len(block), self.scales.shape[1], -1)
            steps = (groups.abs().amax(dim=2) / INT8_LARGEST).clamp_(min=LEAST_SCALE).to(self.scales.dtype)
            kept = (groups / steps.float()[:, :, None]).round_().clamp_(-INT8_LARGEST, INT8_LARGEST)
            self.values[rows].copy_(kept.view(block.shape))
            self.scales[rows].copy_(steps)
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
    """Memory taken in one piece and handed out in parts. Without `counted` it only counts; with an arena that has, it
    takes as much."""

    ALIGN = 256

    def __init__(self, device: str, counted: Arena | None = None) -> None:
        self.device = device
        self._room = None if counted is None else torch.empty(counted.size, dtype=torch.uint8, device=device)
        self.used = 0
        self.common: int = 0 if counted is None else counted.common

    @property
    def size(self) -> int:
        """Bytes of all parts and of what they share."""
        return self.used + self.common

    @property
    def counts(self) -> bool:
        """Whether this only counts, and its tensors hold nothing."""
        return self._room is None

    def take(self, *shape: int, dtype: Any) -> Tensor:
        """An uninitialised tensor; on the device `meta` when the arena only counts."""
        first = self.common + self.used
        self.used += self._room_of(shape, dtype)
        return self._part(first, shape, dtype)

    def share(self, *shape: int, dtype: Any) -> Tensor:
        """The same room for everybody who asks for it, as large as the largest that was asked for."""
        self.common = max(self.common, self._room_of(shape, dtype))
        return self._part(0, shape, dtype)

    def _room_of(self, shape: tuple[int, ...], dtype: Any) -> int:
        return rounded(math.prod(shape) * int(dtype.itemsize), self.ALIGN)

    def _part(self, first: int, shape: tuple[int, ...], dtype: Any) -> Tensor:
        if self._room is None:
            return torch.empty(shape, dtype=dtype, device="meta")
        return self._room[first : first + math.prod(shape) * int(dtype.itemsize)].view(dtype).view(shape)
