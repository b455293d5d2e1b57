"""The shape of a model, and how many parameters and bytes it stands for. Pure functions of numbers.

Counted is what an engine keeps: a BERT embedder's unused pooler and the head a language model was trained with are left
out. Every family was checked against the published implementation (see the tests).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

Family = Literal[
    "bert", "roberta", "distilbert", "modernbert", "llama-bidirectional", "qwen3", "decoder", "convolutional"
]
"""What the layers are, hence how many weights a shape has. `roberta` includes XLM-R; `decoder` is any GGUF LLM;
networks that look at pictures (`convolutional`) have no such shape, and their weights are counted by their files."""

Precision = Literal[
    "fp32", "fp16", "bf16", "int8",
    "q8_0", "q6_k", "q5_k_m", "q5_k_s", "q5_1", "q5_0", "q4_k_m", "q4_k_s", "q4_1", "q4_0",
    "q3_k_l", "q3_k_m", "q3_k_s", "q2_k", "other",
]  # fmt: skip
"""How weights are stored. `other` is a GGUF quantisation without a row below; its size is that of its file."""

BITS: dict[str, float] = {
    "fp32": 32, "bf16": 16, "fp16": 16, "int8": 8,
    "q8_0": 8.50, "q6_k": 6.56, "q5_k_m": 5.70, "q5_k_s": 5.57, "q5_1": 6.0, "q5_0": 5.5,
    "q4_k_m": 4.89, "q4_k_s": 4.67, "q4_1": 5.13, "q4_0": 4.67,
    "q3_k_l": 4.30, "q3_k_m": 4.00, "q3_k_s": 3.64, "q2_k": 3.16,
}  # fmt: skip
"""Bits of one weight, block scales included. The mixed GGUF types are the averages that llama.cpp's quantiser documents
for an 8B Llama; in models with a larger share of embeddings they come out a few per cent higher."""

TYPE_ROWS = {"bert": 2, "roberta": 1}
"""Rows of the token type table in published checkpoints of these families."""


class Shape(BaseModel):
    """What a footprint is computed from. `ffn` is the inner width of the feed-forward part, one half of it where it is
    gated; `tied_head` says whether a language model's output matrix is its embedding table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    positions: int
    tied_head: bool = True


NO_SHAPE = Shape(hidden=1, layers=0, heads=1, kv_heads=1, head_dim=1, ffn=0, vocab=0, positions=1)
"""Of a model that is no transformer."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """Weights by what may be done with them: `tables` are looked up (and may live in host memory), `layers` are
    multiplied and may be quantised, `head` is everything after the last layer."""

    tables: int
    layers: int
    head: int

    @property
    def total(self) -> int:
        return self.tables + self.layers + self.head


def parameters(family: Family, shape: Shape, *, classifier: bool) -> Parameters:
    """Exact counts. `classifier` adds the family's head of one label (of a decoder: its output matrix, unless tied)."""
    return _COUNTS[family](shape, classifier)


def stored_bytes(count: int, precision: Precision) -> int:
    """Bytes of `count` weights. Raises ValueError for `other`, which has no one size."""
    if precision not in BITS:
        raise ValueError(f"precision {precision!r} has no fixed bits per weight")
    return math.ceil(count * BITS[precision] / 8)


def _bert(shape: Shape, classifier: bool) -> Parameters:
    width = shape.hidden
    rows = shape.vocab + shape.positions + TYPE_ROWS["bert"]
    head = _dense(width, width) + _dense(width, 1) if classifier else 0
    return Parameters(rows * width + _norm(width), shape.layers * _post_norm_layer(shape), head)


def _roberta(shape: Shape, classifier: bool) -> Parameters:
    width = shape.hidden
    rows = shape.vocab + shape.positions + TYPE_ROWS["roberta"]
    head = _dense(width, width) + _dense(width, 1) if classifier else 0
    return Parameters(rows * width + _norm(width), shape.layers * _post_norm_layer(shape), head)


def _distilbert(shape: Shape, classifier: bool) -> Parameters:
    width = shape.hidden
    head = _dense(width, width) + _dense(width, 1) if classifier else 0
    tables = (shape.vocab + shape.positions) * width + _norm(width)
    return Parameters(tables, shape.layers * _post_norm_layer(shape), head)


def _modernbert(shape: Shape, classifier: bool) -> Parameters:
    """No biases; the first layer has no norm before its attention."""
    width = shape.hidden
    layer = 4 * width**2 + 3 * width * shape.ffn + 2 * width
    head = width**2 + width + _dense(width, 1) if classifier else 0
    return Parameters(shape.vocab * width + width, shape.layers * layer - width, width + head)


def _llama(shape: Shape, classifier: bool) -> Parameters:
    """No biases anywhere; the last norm belongs to the head."""
    width = shape.hidden
    return Parameters(shape.vocab * width, shape.layers * _gated_layer(shape), width + (width if classifier else 0))


def _qwen3(shape: Shape, _: bool) -> Parameters:
    """A Llama with a norm on every head's queries and keys. As a reranker it answers by two rows of its own table."""
    plain = _llama(shape, False)
    return Parameters(plain.tables, plain.layers + shape.layers * 2 * shape.head_dim, plain.head)


def _decoder(shape: Shape, classifier: bool) -> Parameters:
    plain = _llama(shape, False)
    output = shape.vocab * shape.hidden if classifier and not shape.tied_head else 0
    return Parameters(plain.tables, plain.layers, plain.head + output)


def _dense(wide: int, narrow: int) -> int:
    return wide * narrow + narrow


def _norm(width: int) -> int:
    return 2 * width


def _post_norm_layer(shape: Shape) -> int:
    width = shape.hidden
    return 4 * _dense(width, width) + _dense(width, shape.ffn) + _dense(shape.ffn, width) + 2 * _norm(width)


def _gated_layer(shape: Shape) -> int:
    width = shape.hidden
    attention = width * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    return attention + 3 * width * shape.ffn + 2 * width


def _uncounted(_: Shape, __: bool) -> Parameters:
    return Parameters(0, 0, 0)


_COUNTS = {
    "bert": _bert,
    "roberta": _roberta,
    "distilbert": _distilbert,
    "modernbert": _modernbert,
    "llama-bidirectional": _llama,
    "qwen3": _qwen3,
    "decoder": _decoder,
    "convolutional": _uncounted,
}
