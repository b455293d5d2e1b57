"""int8 weights in groups, multiplied out where they are used: against a checkpoint rounded by other code, in fp32."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from checkpoints import torch
from packed_models import LONGEST, Made, make
from ullage.engines.base import Batch, Float32
from ullage.engines.cuda_packed import bert, llama, modernbert
from ullage.engines.cuda_packed.config import read_config
from ullage.engines.cuda_packed.engine import PackedEngine
from ullage.engines.cuda_packed.tensors import Arena, Matrix, Operand
from ullage.engines.cuda_packed.workspace import Kinds
from ullage.errors import ModelUnsupported
from ullage.plan.packed import expanded_bytes, int8_group, weight_bytes
from ullage.plan.profile import Profile

LAYER_MATRIX = re.compile(r"(layers?\.\d+\..*(_proj|query|key|value|dense|lin\d|[qkv]_lin|out_lin|Wqkv|Wo|Wi)\.weight)")
LENGTHS = (5, 129, 64, 1, 300, 128, 257)


def rounded(matrix: Any, group: int) -> Any:
    """To the nearest of 255 steps of each group of columns; the step is rounded to bf16 first."""
    found = matrix.float().numpy().copy()
    for row in found:
        for first in range(0, len(row), group):
            part = row[first : first + group]
            step = float(torch.tensor(max(np.abs(part).max() / 127, 1e-12)).bfloat16())
            part[:] = np.clip(np.rint(part / step), -127, 127) * step
    return torch.from_numpy(found)


def rounded_copy(made: Made, folder: Path) -> Path:
    """The checkpoint with every matrix of its layers, and its table of words, as int8 keeps them."""
    shutil.copytree(made.folder, folder)
    for path in folder.glob("*.safetensors"):
        tensors = load_file(path)
        for name, tensor in tensors.items():
            if LAYER_MATRIX.search(name):
                tensors[name] = rounded(tensor, int8_group(tensor.shape[1]))
            elif "embed" in name and tensor.dim() == 2:
                step = (tensor.float().abs().amax(1, keepdim=True) / 127).clamp_(min=1e-12)
                tensors[name] = (tensor.float() / step).round() * step
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, {"format": "pt"})
    return folder


def scores(made: Made, folder: Path, precision: str, cache: Path, rows: list[Any], *, alone: bool = False) -> Float32:
    engine = PackedEngine(made.card, Profile("cpu", precision, 8192, LONGEST), folder, cache_dir=cache, threads=1)
    engine.load()
    try:
        if alone:
            return np.concatenate([engine.run(Batch.lay([row])).rows for row in rows])
        return engine.run(Batch.lay(rows)).rows
    finally:
        engine.close()


def test_it_computes_what_the_rounded_checkpoint_says(ranker: Made, tmp_path: Path) -> None:
    rows = ranker.rows(LENGTHS)
    found = scores(ranker, ranker.folder, "int8", tmp_path, rows)
    wanted = scores(ranker, rounded_copy(ranker, tmp_path / "rounded"), "fp32", tmp_path, rows)
    exact = scores(ranker, ranker.folder, "fp32", tmp_path, rows)
    in_bf16 = scores(ranker, ranker.folder, "bf16", tmp_path, rows)
    by_format = np.abs(in_bf16 - exact).max()  # what bf16 activations alone cost
    assert np.abs(found - wanted).max() <= 2 * by_format + 1e-3
    assert (found != in_bf16).any()


def test_a_row_alone_equals_the_row_in_a_pack(ranker: Made, tmp_path: Path) -> None:
    rows = ranker.rows(LENGTHS)
    together = scores(ranker, ranker.folder, "int8", tmp_path, rows)
    alone = scores(ranker, ranker.folder, "int8", tmp_path, rows, alone=True)
    assert np.abs(together - alone).max() <= 0.02


def matrix_of(rows: int, columns: int, at_once: int) -> Matrix:
    return Matrix(torch.empty(rows, columns, dtype=torch.int8), None,
                  torch.empty(rows, columns // int8_group(columns), dtype=torch.bfloat16),
                  torch.empty(at_once, columns, dtype=torch.bfloat16))


@pytest.mark.parametrize("at_once", [1, 5, 16, 24])
def test_a_product_does_not_depend_on_how_many_rows_are_multiplied_out_at_a_time(at_once: int) -> None:
    from ullage.engines.cuda_packed import plain

    torch.manual_seed(0)
    weights, x = torch.randn(24, 128), torch.randn(7, 128).bfloat16()
    matrix = matrix_of(24, 128, at_once)
    matrix.put(0, weights[:10])
    matrix.put(10, weights[10:])
    matrix.bias = torch.randn(24).bfloat16()
    out, total = torch.empty(7, 24, dtype=torch.bfloat16), torch.ones(7, 24, dtype=torch.bfloat16)
    plain.multiply(Operand(x), matrix, out)
    plain.multiply_add(Operand(x), matrix, total, total)
    wanted = x.float() @ rounded(weights, 64).bfloat16().float().t()
    assert (out.float() - wanted - matrix.bias.float()).abs().max() <= 0.02 * wanted.abs().max()
    assert (total.float() - wanted - 1).abs().max() <= 0.02 * wanted.abs().max()


def test_zeros_and_outliers_are_kept() -> None:
    from ullage.engines.cuda_packed import plain

    weights = torch.zeros(2, 128)
    weights[1, 3], weights[1, 70] = 1000.0, 1e-3
    matrix = matrix_of(2, 128, 2)
    matrix.put(0, weights)
    [(_, expanded)] = matrix.parts(plain.expand)
    found = expanded.values.float()
    assert (found[0] == 0).all()
    assert abs(float(found[1, 3]) / 1000 - 1) < 0.01
    assert abs(float(found[1, 70]) / 1e-3 - 1) < 0.01, "a group without the outlier has steps of its own"


def test_the_shared_room_is_as_large_as_planned(ranker: Made) -> None:
    config = read_config(ranker.folder, ranker.card)
    kinds, counted = Kinds("int8"), Arena("meta")
    if config.family == "llama-bidirectional":
        llama.Llama(llama.LlamaConfig.of(config), kinds, counted)
    else:
        made = modernbert.ModernBert if config.family == "modernbert" else bert.Bert
        made(config, ranker.card.pooling, kinds, counted)
    assert counted.common == -(-expanded_bytes(config.shape, config.family, "int8") // Arena.ALIGN) * Arena.ALIGN


def test_the_true_shape_takes_half_of_bf16() -> None:
    from ullage.bench.gpu_checkpoint import one_billion

    card = one_billion()
    counted = {}
    for precision in ("bf16", "int8"):
        arena = Arena("meta")
        shape = card.shape
        config = llama.LlamaConfig(shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.head_dim, shape.ffn,
                                   shape.vocab, card.norm_epsilon, card.rope, 1, 1.0)
        llama.Llama(config, Kinds(precision), arena)
        counted[precision] = arena
        predicted = weight_bytes(card.parameters, precision, host_embedding=False)
        assert abs(arena.used / predicted - 1) < 0.005
    assert counted["int8"].used < 0.52 * counted["bf16"].used
    assert counted["int8"].common == expanded_bytes(card.shape, card.family, "int8") == 32 << 20


def test_a_width_that_cannot_be_grouped_is_refused(tmp_path: Path) -> None:
    made = make(tmp_path / "narrow", "llama", ranks=True, intermediate_size=36)
    engine = PackedEngine(made.card, Profile("cuda", "int8", 8192, LONGEST), made.folder, cache_dir=tmp_path)
    engine._index = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch.cuda, "is_available", lambda: True)
        patched.setattr(torch.cuda, "device_count", lambda: 1)
        with pytest.raises(ModelUnsupported, match="no multiple of 16: int8 needs that"):
            engine.load()
