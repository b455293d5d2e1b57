"""The formats a model computes in, the room that its forward writes into, and the operations it is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from ullage.engines.cuda_packed.tensors import Arena, Matrix, Norm, Operand, Packed, Slot, Table, Tensor
from ullage.plan.packed import ONE_BYTE, STEP_TOKENS, int8_group, int8_rows_at_once

PRECISIONS: dict[str, Any] = {
    "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16, "int8": torch.bfloat16,
}
"""Profile precision -> type of activations. FP8 is the type of matrices and of what is multiplied by them, int8 that in
which matrices are kept alone: they are multiplied out to bf16 where they are used."""


class Ops(Protocol):
    """The module `plain` or `triton_ops`. See `plain.py` for what each does."""

    def look_up(self, table: Table, index: Tensor, out: Tensor, *, add: bool = False) -> None: ...
    def normalise(self, x: Tensor, norm: Norm, out: Operand, *, bias: Tensor | None = None) -> None: ...
    def quantise(self, x: Tensor, out: Operand) -> None: ...
    def multiply(self, x: Operand, matrix: Matrix, out: Tensor) -> None: ...
    def multiply_add(self, x: Operand, matrix: Matrix, total: Tensor, room: Tensor) -> None: ...
    def rotate(self, qkv: Tensor, positions: Tensor, turns: Tensor, heads: int) -> None: ...
    def attend(self, qkv: Tensor, packed: Packed, heads: int, kv_heads: int, window: int | None = None) -> None: ...
    def activate(self, x: Tensor, kind: str, out: Operand, *, gated: bool) -> None: ...
    def pool(
        self, x: Tensor, packed: Packed, norm: Norm | None, partial: Tensor, out: Tensor, *, first: bool
    ) -> None: ...
    def score(self, pooled: Tensor, head: Tensor, temperature: float, out: Tensor) -> None: ...


class Model(Protocol):
    """A family's weights and forward."""

    def slots(self, names: Any) -> list[Slot]: ...
    def check(self, names: Any) -> None: ...
    def turns(self, positions: int) -> list[Tensor]: ...
    def rehearse(self, ops: Ops, tokens: int, work: Workspace) -> None: ...
    def forward(self, ops: Ops, packed: Packed, work: Workspace) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Kinds:
    """How weights are kept: `precision` of the profile; the tables on the device or, pinned, on the host."""

    precision: str
    host_tables: bool = False

    @property
    def dtype(self) -> Any:
        return PRECISIONS[self.precision]

    def matrix(self, arena: Arena, rows: int, columns: int, *, bias: bool = False) -> Matrix:
        """[rows, columns] to multiply by."""
        added = arena.take(rows, dtype=self.dtype) if bias else None
        if self.precision == "fp8":
            return Matrix(arena.take(rows, columns, dtype=torch.float8_e4m3fn), added,
                          arena.take(1, rows, dtype=torch.float32))
        if self.precision == "int8":
            return Matrix(arena.take(rows, columns, dtype=torch.int8), added,
                          arena.take(rows, columns // int8_group(columns), dtype=self.dtype),
                          arena.share(int8_rows_at_once(rows, columns), columns, dtype=self.dtype))
        return Matrix(arena.take(rows, columns, dtype=self.dtype), added)

    def table(self, arena: Arena, rows: int, columns: int) -> Table:
        """[rows, columns] to look up: int8 with scales beside matrices of one byte, which halves it and costs less
        precision than FP8 would."""
        if self.host_tables:
            if arena.counts:
                return Table(torch.empty(rows, columns, dtype=self.dtype, device="meta"))
            return Table(torch.empty(rows, columns, dtype=self.dtype, pin_memory=True))
        if self.precision not in ONE_BYTE:
            return Table(arena.take(rows, columns, dtype=self.dtype))
        return Table(arena.take(rows, columns, dtype=torch.int8), arena.take(rows, dtype=torch.float32))


@dataclass(slots=True)
class Workspace:
    """Views of memory that was taken once. `parts` are flat uint8 tensors of the sizes of `plan.packed.workspace`;
    token-wise work runs over `chunk` tokens at a time."""

    parts: dict[str, Tensor]
    dtype: Any
    fp8: bool
    chunk: int
    pooled_bytes: int
    turns: list[Tensor] = field(default_factory=list)

    def residual(self, tokens: int, hidden: int) -> Tensor:
        return _view(self.parts["residual"], self.dtype, tokens, hidden)

    def shared(self, tokens: int, wide: int) -> Tensor:
        return _view(self.parts["shared"], self.dtype, tokens, wide)

    def inner(self, tokens: int, wide: int, narrow: int) -> tuple[Tensor, Operand]:
        """The inner layer of one chunk before its activation [tokens, wide] and after [tokens, narrow]. They lie where
        queries, keys and values did."""
        room = self.parts["shared"]
        before = _view(room, self.dtype, tokens, wide)
        return before, self._operand(room[tokens * wide * self.dtype.itemsize :], tokens, narrow)

    def spare(self, tokens: int, wide: int) -> Tensor:
        """What is left behind queries, keys and values [tokens, wide] of the whole batch."""
        return self.parts["shared"][tokens * wide * self.dtype.itemsize :]

    def most(self, spare: Tensor, width: int) -> int:
        """Tokens of the largest operand of that width, in `spare` or in the room for one chunk's."""
        room = max(len(spare), len(self.parts["operand"]))
        return room // self._operand_bytes(width) // STEP_TOKENS * STEP_TOKENS

    def operand(self, tokens: int, width: int, spare: Tensor | None = None) -> Operand:
        """Uninitialised; in `spare` where it is larger than one chunk's."""
        room = self.parts["operand"]
        if tokens * self._operand_bytes(width) > len(room):
            room = spare
        return self._operand(room, tokens, width)

    def taken(self, ops: Ops, x: Tensor, spare: Tensor | None = None) -> Operand:
        """x [n, width] as it is multiplied: itself, or in FP8."""
        if not self.fp8:
            return Operand(x)
        operand = self.operand(x.shape[0], x.shape[1], spare)
        ops.quantise(x, operand)
        return operand

    def _operand_bytes(self, width: int) -> int:
        """Of one token."""
        return width + 4 if self.fp8 else width * int(self.dtype.itemsize)

    def partial(self, tiles: int, hidden: int) -> Tensor:
        return _view(self.parts["shared"], torch.float32, tiles, hidden)

    def pooled(self, rows: int, hidden: int) -> Tensor:
        """Behind the sums that they are made of."""
        return _view(self._pooled, torch.float32, rows, hidden)

    def second(self, rows: int, width: int) -> Tensor:
        """Beside the pooled rows, for a head of two layers."""
        return _view(self._pooled[self.pooled_bytes // 2 :], torch.float32, rows, width)

    @property
    def _pooled(self) -> Tensor:
        shared = self.parts["shared"]
        return shared[len(shared) - self.pooled_bytes :]

    def logits(self, rows: int, labels: int) -> Tensor:
        """Where nothing else is written any more once rows are pooled."""
        return _view(self.parts["operand"], torch.float32, rows, labels)

    def _operand(self, room: Tensor, tokens: int, width: int) -> Operand:
        if not self.fp8:
            return Operand(_view(room, self.dtype, tokens, width))
        values = _view(room, torch.float8_e4m3fn, tokens, width)
        return Operand(values, _view(room[tokens * width :], torch.float32, tokens, 1))


def room_in(spent: Tensor, like: Tensor) -> Tensor:
    """A tensor of the shape of `like` [n, hidden] over `spent` [n, at least hidden], which nobody reads any more."""
    return spent.reshape(-1)[: like.numel()].view(like.shape)


def _view(room: Tensor, dtype: Any, rows: int, columns: int) -> Tensor:
    return room[: rows * columns * dtype.itemsize].view(dtype).view(rows, columns)
