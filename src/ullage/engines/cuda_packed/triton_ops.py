"""The operations of `plain.py` on a GPU: matrix products by cuBLAS, everything else by our own kernels.

Two kernels are worth their names: attention reads queries, keys and values where the projection wrote them, with query
heads sharing their key head in place, and writes its result over the queries; norms and activations write FP8 with its
row scales in the same pass. Importing this needs Triton, which comes with PyTorch for CUDA.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ullage.engines.cuda_packed import triton_source as source
from ullage.engines.cuda_packed.tensors import Matrix, Norm, Operand, Packed, Table, Tensor
from ullage.plan.packed import TILE_TOKENS

LOG2_E = math.log2(math.e)
ACTIVATION_COLUMNS = 2048
POOL_STEP = 4
EXPANDED_GROUPS = 32
"""Groups of an int8 row that one program multiplies out."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Launch parameters of attention, by measurement on an H100: see docs/benchmarks.md."""

    keys: int = 64
    warps: int = 8
    stages: int = 3


TUNING = Tuning()


def compiled_kernels() -> int:
    """How many kernels were compiled or read from the cache so far in this process."""
    found = 0
    for kernel in vars(source).values():
        for caches in getattr(kernel, "device_caches", {}).values():
            found += len(caches[0])
    return found


def look_up(table: Table, index: Tensor, out: Tensor, *, add: bool = False) -> None:
    hidden = out.shape[1]
    source.look_up[(len(out),)](table.values, table.scales, index, out, hidden, _power(hidden), add,
                                table.scales is not None, num_warps=4)


def normalise(x: Tensor, norm: Norm, out: Operand, *, bias: Tensor | None = None) -> None:
    hidden = x.shape[1]
    source.normalise[(len(x),)](
        x, norm.weight, norm.bias, bias, out.values, out.scales, norm.epsilon, hidden, _power(hidden), norm.centred,
        norm.bias is not None, bias is not None, out.scales is not None, num_warps=4)


def quantise(x: Tensor, out: Operand) -> None:
    width = x.shape[1]
    source.quantise[(len(x),)](x, x.stride(0), out.values, out.scales, width, _power(width), num_warps=_warps(width))


def expand(values: Tensor, scales: Tensor, out: Tensor) -> None:
    width, groups = values.shape[1], scales.shape[1]
    block = min(_power(groups), EXPANDED_GROUPS)
    source.expand[(len(values), -(-groups // block))](values, scales, out, groups, width // groups, block, num_warps=4)


def multiply(x: Operand, matrix: Matrix, out: Tensor) -> None:
    if matrix.room is not None:
        for rows, part in matrix.parts(expand):
            multiply(x, part, out[:, rows])
        return
    if matrix.scales is not None:
        torch._scaled_mm(x.values, matrix.values.t(), scale_a=x.scales, scale_b=matrix.scales, bias=matrix.bias,
                         out_dtype=out.dtype, use_fast_accum=True, out=out)
    elif matrix.bias is None:
        torch.mm(x.values, matrix.values.t(), out=out)
    else:
        torch.addmm(matrix.bias, x.values, matrix.values.t(), out=out)


def multiply_add(x: Operand, matrix: Matrix, total: Tensor, room: Tensor) -> None:
    if matrix.room is not None:
        for rows, part in matrix.parts(expand):
            multiply_add(x, part, total[:, rows], room)
        return
    if matrix.scales is None:
        total.addmm_(x.values, matrix.values.t())
        return
    multiply(x, Matrix(matrix.values, None, matrix.scales), room)
    total.add_(room)


def rotate(qkv: Tensor, positions: Tensor, turns: Tensor, heads: int) -> None:
    source.rotate[(len(qkv),)](qkv, positions, turns, qkv.stride(0), heads, turns.shape[-1], _power(heads), num_warps=4)


def attend(qkv: Tensor, packed: Packed, heads: int, kv_heads: int, window: int | None = None) -> None:
    size = qkv.shape[1] // (heads + 2 * kv_heads)
    wide = qkv.element_size() > 2  # fp32 tiles take twice the shared memory
    source.attend[(heads, len(packed.tiles))](
        qkv, packed.tiles, qkv.stride(0), LOG2_E / math.sqrt(size), window or 0, heads, heads // kv_heads, size,
        TILE_TOKENS, 32 if wide else TUNING.keys, window is not None, num_warps=8 if wide else TUNING.warps,
        num_stages=1 if wide else TUNING.stages)


def activate(x: Tensor, kind: str, out: Operand, *, gated: bool) -> None:
    width = out.values.shape[1]
    quant = out.scales is not None
    block = _power(width) if quant else min(ACTIVATION_COLUMNS, _power(width))
    source.activate[(len(x), -(-width // block))](
        x, out.values, out.scales, x.stride(0), width, block, kind, gated, quant,
        num_warps=_warps(block) if quant else 4)


def pool(x: Tensor, packed: Packed, norm: Norm | None, partial: Tensor, out: Tensor, *, first: bool) -> None:
    hidden = x.shape[1]
    block = _power(hidden)
    weight, shift, epsilon = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.epsilon)
    centred = norm is not None and norm.centred
    if first:
        source.first_of_rows[(len(out),)](x, packed.tiles, packed.rows, weight, shift, out, epsilon, hidden, block,
                                          norm is not None, centred, shift is not None, num_warps=4)
        return
    source.sum_tile[(len(packed.tiles),)](x, packed.tiles, weight, shift, partial, epsilon, hidden, block, TILE_TOKENS,
                                          POOL_STEP, norm is not None, centred, shift is not None, num_warps=8)
    columns = min(block, 256)
    source.mean_of_tiles[(len(out), -(-hidden // columns))](partial, packed.rows, out, hidden, columns, num_warps=1)


def score(pooled: Tensor, head: Tensor, temperature: float, out: Tensor) -> None:
    labels, hidden = head.shape
    source.score[(len(out), labels)](pooled, head, out, temperature, hidden, _power(hidden), labels, num_warps=4)


def _power(value: int) -> int:
    return 1 << (value - 1).bit_length()


def _warps(width: int) -> int:
    return 4 if width <= 4096 else 8


