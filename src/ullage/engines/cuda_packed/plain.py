"""Every operation of a packed model as plain tensor code: what runs on a CPU, and what our GPU kernels are checked by.

All results are written into `out`. Sums of norms, softmax and pooling are fp32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as functional

from ullage.engines.cuda_packed.tensors import FP8_LARGEST, LEAST_SCALE, Matrix, Norm, Operand, Packed, Table, Tensor


def look_up(table: Table, index: Tensor, out: Tensor, *, add: bool = False) -> None:
    """out [n, hidden] = rows `index` [n] of the table, or that much more."""
    rows = table.values[index.long().to(table.values.device)].to(out.device).float()
    if table.scales is not None:
        rows *= table.scales[index.long()][:, None]
    out.copy_(out.float() + rows if add else rows)


def normalise(x: Tensor, norm: Norm, out: Operand, *, bias: Tensor | None = None) -> None:
    """out = the norm of x [n, hidden], to which `bias` [hidden] is added first; x and out may be the same."""
    value = x.float() if bias is None else x.float() + bias.float()
    _keep(_normal(value, norm), out)


def _normal(value: Tensor, norm: Norm) -> Tensor:
    if norm.centred:
        value = value - value.mean(dim=-1, keepdim=True)
    value = value * torch.rsqrt(value.square().mean(dim=-1, keepdim=True) + norm.epsilon) * norm.weight.float()
    return value if norm.bias is None else value + norm.bias.float()


def quantise(x: Tensor, out: Operand) -> None:
    """out = x [n, width], whose rows may lie apart, in FP8."""
    _keep(x.float(), out)


def _keep(value: Tensor, out: Operand) -> None:
    if out.scales is None:
        out.values.copy_(value)
        return
    scale = (value.abs().amax(dim=1, keepdim=True) / FP8_LARGEST).clamp(min=LEAST_SCALE)
    out.values.copy_((value / scale).clamp(-FP8_LARGEST, FP8_LARGEST))
    out.scales.copy_(scale)


def expand(values: Tensor, scales: Tensor, out: Tensor) -> None:
    """out [n, in] = int8 values [n, in] by the scales [n, groups] of their groups of columns."""
    out.view(*scales.shape, -1).copy_(values.view(*scales.shape, -1).float() * scales.float()[:, :, None])


def multiply(x: Operand, matrix: Matrix, out: Tensor) -> None:
    """out [n, out] = x times the matrix, and its bias."""
    if matrix.room is not None:
        for rows, part in matrix.parts(expand):
            multiply(x, part, out[:, rows])
        return
    if matrix.scales is not None:
        assert x.scales is not None
        out.copy_((x.values.float() * x.scales) @ (matrix.values.float() * matrix.scales.t()).t())
        if matrix.bias is not None:
            out.add_(matrix.bias)
    elif matrix.bias is None:
        torch.mm(x.values, matrix.values.t(), out=out)
    else:
        torch.addmm(matrix.bias, x.values, matrix.values.t(), out=out)


def multiply_add(x: Operand, matrix: Matrix, total: Tensor, room: Tensor) -> None:
    """total [n, out] += x times the matrix, without its bias. `room` [n, out] is written where FP8 needs it."""
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
    """Turn the first `heads` heads of qkv [n, width] in place. `turns` [positions, 2, head_dim / 2] is cosine and sine;
    the first half of a head is turned with the second."""
    half = turns.shape[-1]
    cosine, sine = turns[positions.long()][:, :, None].unbind(1)
    x = qkv[:, : heads * 2 * half].view(len(qkv), heads, 2, half)
    first, second = x.float().unbind(2)
    turned = first * cosine - second * sine, second * cosine + first * sine
    x.copy_(torch.stack(turned, dim=2))


def attend(qkv: Tensor, packed: Packed, heads: int, kv_heads: int, window: int | None = None) -> None:
    """Attention of every row over itself, both ways, written over its queries. qkv [n, (heads + 2 kv_heads) head_dim].

    With a `window` a token sees those at most that far away.
    """
    size = qkv.shape[1] // (heads + 2 * kv_heads)
    begin = 0
    for length in (int(n) for n in packed.lengths):
        row = qkv[begin : begin + length]
        parts = row.view(length, -1, size).transpose(0, 1)[None]
        query, key, value = parts.split((heads, kv_heads, kv_heads), dim=1)
        near = None
        if window is not None:
            place = torch.arange(length, device=qkv.device)
            near = (place[:, None] - place[None, :]).abs() <= window
        found = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=near, enable_gqa=heads != kv_heads
        )
        row[:, : heads * size] = found[0].transpose(0, 1).reshape(length, heads * size)
        begin += length


def activate(x: Tensor, kind: str, out: Operand, *, gated: bool) -> None:
    """out [n, width] = act(x), or with a gate act(first half of x) times its second half."""
    value = x.float()
    if gated:
        first, second = value.chunk(2, dim=-1)
        _keep(_ACTIVATIONS[kind](first) * second, out)
    else:
        _keep(_ACTIVATIONS[kind](value), out)


def pool(x: Tensor, packed: Packed, norm: Norm | None, partial: Tensor, out: Tensor, *, first: bool) -> None:  # noqa: ARG001
    """out [rows, hidden] fp32 = the mean of each row's normed tokens, or its first. `partial` is room for kernels."""
    begin = 0
    for index, length in enumerate(int(n) for n in packed.lengths):
        row = x[begin : begin + (1 if first else length)].float()
        out[index] = (row if norm is None else _normal(row, norm)).mean(dim=0)
        begin += length


def score(pooled: Tensor, head: Tensor, temperature: float, out: Tensor) -> None:
    """out [rows, labels] fp32 = pooled [rows, hidden] times head [labels, hidden], divided."""
    torch.mm(pooled, head.t(), out=out)
    out.div_(temperature)


def _gelu_tanh(value: Tensor) -> Tensor:
    return functional.gelu(value, approximate="tanh")


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu, "gelu": functional.gelu, "gelu_tanh": _gelu_tanh, "relu": functional.relu,
}  # fmt: skip
