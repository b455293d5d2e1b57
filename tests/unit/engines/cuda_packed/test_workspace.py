"""Where the forward of the true 1B shape reads and writes, told by tensors that hold nothing: in FP8 too, which no CPU
computes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from checkpoints import torch
from ullage.bench.gpu_checkpoint import one_billion
from ullage.engines.cuda_packed import layout, llama
from ullage.engines.cuda_packed.tensors import Arena, Matrix, Operand, Packed
from ullage.engines.cuda_packed.workspace import PRECISIONS, Kinds, Workspace
from ullage.plan.packed import STEP_TOKENS, chunk_tokens, most_rows, pooled_bytes, workspace

CARD = one_billion()
SHAPE = CARD.shape


def model_of(precision: str, *, sparing: bool) -> llama.Llama:
    config = llama.LlamaConfig(SHAPE.hidden, SHAPE.layers, SHAPE.heads, SHAPE.kv_heads, SHAPE.head_dim, SHAPE.ffn,
                               SHAPE.vocab, CARD.norm_epsilon, CARD.rope, 1, 1.0)
    return llama.Llama(config, Kinds(precision, sparing), Arena("meta"))


def work_of(precision: str, max_tokens: int, *, sparing: bool) -> Workspace:
    """As the engine takes it, all parts in one piece."""
    sizes = workspace(SHAPE, CARD.family, precision, max_tokens, 8192, sparing=sparing)
    ends = np.cumsum([0, *(layout.rounded(size, Arena.ALIGN) for size in sizes.values())]).tolist()
    whole = torch.empty(ends[-1], dtype=torch.uint8, device="meta")
    parts = {name: whole[begin : begin + sizes[name]]
             for name, (begin, _) in zip(sizes, pairwise(ends), strict=True)}
    made = Workspace(parts, PRECISIONS[precision], precision == "fp8", chunk_tokens(max_tokens, sparing=sparing),
                     pooled_bytes(SHAPE, CARD.family, most_rows(max_tokens)))
    made.turns.append(torch.empty(8192, 2, SHAPE.head_dim // 2, device="meta"))
    return made


def span(tensor: Any) -> tuple[int, int]:
    """First byte and the one after the last, in the one piece."""
    size = tensor.element_size()
    last = sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.storage_offset() * size, (tensor.storage_offset() + last + 1) * size


def apart(*tensors: Any) -> bool:
    spans = sorted(span(tensor) for tensor in tensors if tensor is not None)
    return all(before[1] <= after[0] for before, after in pairwise(spans))


class Watched:
    """Operations that only look at what they are given."""

    def __init__(self) -> None:
        self.products: list[tuple[Matrix, int]] = []

    def look_up(self, table: Any, index: Any, out: Any) -> None:
        assert len(index) == len(out)

    def normalise(self, x: Any, norm: Any, out: Operand) -> None:
        assert x.shape == out.values.shape
        assert apart(x, out.values, out.scales)

    quantise = None

    def multiply(self, x: Operand, matrix: Matrix, out: Any) -> None:
        assert x.values.dtype == matrix.values.dtype, "what a matrix in FP8 multiplies is in FP8, and nothing else is"
        assert (x.scales is None) == (matrix.scales is None)
        self.note(x, matrix, out)

    def note(self, x: Operand, matrix: Matrix, out: Any) -> None:
        assert (x.values.shape[1], out.shape[1]) == (matrix.values.shape[1], matrix.values.shape[0])
        assert len(x.values) == len(out)
        assert apart(x.values, x.scales, out)
        self.products.append((matrix, len(out)))

    def multiply_add(self, x: Operand, matrix: Matrix, total: Any, room: Any) -> None:
        self.multiply(x, matrix, total)
        if x.scales is not None:
            assert room.shape == total.shape
            assert apart(x.values, x.scales, total, room)

    def rotate(self, qkv: Any, positions: Any, turns: Any, heads: int) -> None:
        assert len(qkv) == len(positions)

    def attend(self, qkv: Any, packed: Packed, heads: int, kv_heads: int) -> None: ...

    def activate(self, x: Any, kind: str, out: Operand, *, gated: bool) -> None:
        assert x.shape[1] == 2 * out.values.shape[1]
        assert gated
        assert apart(x, out.values, out.scales)

    def pool(self, x: Any, packed: Packed, norm: Any, partial: Any, out: Any, *, first: bool) -> None:
        assert apart(x, partial, out)

    def score(self, pooled: Any, head: Any, temperature: float, out: Any) -> None:
        assert apart(pooled, out)


class WatchedInt8(Watched):
    def multiply(self, x: Operand, matrix: Matrix, out: Any) -> None:
        assert x.values.dtype == matrix.room.dtype == torch.bfloat16
        assert x.scales is None
        self.note(x, matrix, out)


class WatchedFp8(Watched):
    def quantise(self, x: Any, out: Operand) -> None:
        assert x.shape == out.values.shape
        assert apart(x, out.values, out.scales)


@pytest.mark.parametrize("sparing", [False, True])
@pytest.mark.parametrize("max_tokens", [128, 384, 2048, 4096, 8192, 16384])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "fp8"])
def test_nothing_is_read_where_it_is_written(precision: str, max_tokens: int, sparing: bool) -> None:
    model, work = model_of(precision, sparing=sparing), work_of(precision, max_tokens, sparing=sparing)
    for tokens in {max_tokens, STEP_TOKENS, layout.rounded(max_tokens * 5 // 9, STEP_TOKENS)}:
        ops = {"fp8": WatchedFp8, "int8": WatchedInt8}.get(precision, Watched)()
        room = layout.graph_spaces(tokens)
        numbers = torch.empty(room.numbers, dtype=torch.int32, device="meta")
        logits = model.forward(ops, Packed.view(numbers, room, np.zeros(0, np.int32)), work)
        assert logits.shape == (room.rows, 1)
        for layer in model.layers:
            for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down):
                assert sum(n for found, n in ops.products if found is matrix) == tokens, "every token, once"
        model.rehearse(ops, tokens, work)


def test_projections_take_all_tokens_at_once_where_there_is_room() -> None:
    for precision in ("bf16", "fp8"):
        model, work = model_of(precision, sparing=False), work_of(precision, 16384, sparing=False)
        ops = WatchedFp8() if precision == "fp8" else Watched()
        model.rehearse(ops, 16384, work)
        assert [n for _, n in ops.products] == [16384] * 2
        assert work.chunk == 4096
