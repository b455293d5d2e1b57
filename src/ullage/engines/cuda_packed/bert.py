"""The BERT family on packed rows: BERT, RoBERTa, XLM-RoBERTa, CamemBERT and DistilBERT, with their heads of one label.

Each layer is attention and a feed-forward part, both followed by their residual and norm. A bias of a projection that
is added to the residual stream is added by the norm after it. Heads are fp32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ullage.engines.cuda_packed.layout import chunks
from ullage.engines.cuda_packed.tensors import Arena, Matrix, Norm, Operand, Packed, Part, Slot, Table, Tensor, Vector
from ullage.engines.cuda_packed.workspace import Kinds, Ops, Workspace, room_in
from ullage.models.encoder_config import Encoder

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}
IGNORED = (
    r".*position_ids", r"((bert|roberta)\.)?pooler\..*", r"cls\..*", r"lm_head\..*", r"vocab_.*",
    r"(pre_)?classifier\..*",
)  # fmt: skip
"""What training leaves beside a trunk; a head that is served is asked for by name."""


@dataclass(frozen=True, slots=True)
class Names:
    """Published names of one layer's parts, without `.weight` and `.bias`."""

    query: str
    key: str
    value: str
    out: str
    attention_norm: str
    wide: str
    narrow: str
    output_norm: str


BERT_LAYER = Names("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
                   "attention.output.LayerNorm", "intermediate.dense", "output.dense", "output.LayerNorm")
DISTILBERT_LAYER = Names("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "sa_layer_norm",
                         "ffn.lin1", "ffn.lin2", "output_layer_norm")

HEADS = {
    "bert": ("pooler.dense", "classifier", "tanh"),
    "roberta": ("classifier.dense", "classifier.out_proj", "tanh"),
    "distilbert": ("pre_classifier", "classifier", "relu"),
}
"""Names of the two layers of a head, and what is between them."""


@dataclass(slots=True)
class BertLayer:
    qkv: Matrix
    out: Matrix
    attention_norm: Norm
    wide: Matrix
    narrow: Matrix
    output_norm: Norm


@dataclass(slots=True)
class Head:
    """[hidden, hidden] and [labels, hidden], fp32, each with its bias."""

    dense: Matrix
    last: Matrix
    between: str


class Bert:
    """The weights of one checkpoint in `arena`, and its forward. `pooling` is that of an embedder."""

    def __init__(self, config: Encoder, pooling: str, kinds: Kinds, arena: Arena) -> None:
        self.config = config
        self._pooling = pooling
        hidden = config.hidden
        on_device = Kinds(kinds.precision)
        self.words = kinds.table(arena, config.vocab, hidden)
        self.positions = on_device.table(arena, config.positions, hidden)
        self.types = on_device.table(arena, config.token_types, hidden) if config.token_types else None
        self.embedded = self._norm(arena)
        self.layers = [
            BertLayer(
                qkv=kinds.matrix(arena, 3 * hidden, hidden, bias=True),
                out=kinds.matrix(arena, hidden, hidden, bias=True),
                attention_norm=self._norm(arena),
                wide=kinds.matrix(arena, config.ffn, hidden, bias=True),
                narrow=kinds.matrix(arena, hidden, config.ffn, bias=True),
                output_norm=self._norm(arena),
            )
            for _ in range(config.layers)
        ]
        self.head = None
        if config.labels is not None:
            exact = Kinds("fp32")
            self.head = Head(exact.matrix(arena, hidden, hidden, bias=True),
                             exact.matrix(arena, config.labels, hidden, bias=True), HEADS[config.family][2])

    def _norm(self, arena: Arena) -> Norm:
        weight, bias = (arena.take(self.config.hidden, dtype=torch.float32) for _ in range(2))
        return Norm(weight, self.config.norm_epsilon, bias)

    def slots(self, names: Any) -> list[Slot]:
        """What the checkpoint must hold. Heads put the trunk under its own name; bare encoders come either way."""
        config, hidden = self.config, self.config.hidden
        own = f"{config.family}."
        trunk = own if f"{own}embeddings.word_embeddings.weight" in names else ""
        at = f"{trunk}embeddings."
        found = [Slot(f"{at}word_embeddings.weight", (config.vocab, hidden), self.words),
                 Slot(f"{at}position_embeddings.weight", (config.positions, hidden), self.positions),
                 *_norm_slots(f"{at}LayerNorm", self.embedded, hidden)]
        if self.types is not None:
            found.append(Slot(f"{at}token_type_embeddings.weight", (config.token_types, hidden), self.types))
        distil = config.family == "distilbert"
        for index, layer in enumerate(self.layers):
            place = f"{trunk}transformer.layer.{index}." if distil else f"{trunk}encoder.layer.{index}."
            found += self._layer_slots(place, DISTILBERT_LAYER if distil else BERT_LAYER, layer)
        if self.head is not None:
            first, last, _ = HEADS[config.family]
            inside = trunk if config.family == "bert" else ""
            found += _dense_slots(f"{inside}{first}", self.head.dense)
            found += _dense_slots(last, self.head.last)
        return found

    def _layer_slots(self, at: str, names: Names, layer: BertLayer) -> list[Slot]:
        hidden = self.config.hidden
        found: list[Slot] = []
        for place, name in enumerate((names.query, names.key, names.value)):
            found.append(Slot(f"{at}{name}.weight", (hidden, hidden), Part(layer.qkv, place * hidden)))
            found.append(Slot(f"{at}{name}.bias", (hidden,), Part(Vector(layer.qkv.bias), place * hidden)))
        for name, matrix in ((names.out, layer.out), (names.wide, layer.wide), (names.narrow, layer.narrow)):
            found += _dense_slots(f"{at}{name}", matrix)
        found += _norm_slots(f"{at}{names.attention_norm}", layer.attention_norm, hidden)
        found += _norm_slots(f"{at}{names.output_norm}", layer.output_norm, hidden)
        return found

    def check(self, names: Any) -> None:
        """Nothing beyond names and shapes."""

    def turns(self, positions: int) -> list[Tensor]:  # noqa: ARG002
        return []

    def rehearse(self, ops: Ops, tokens: int, work: Workspace) -> None:
        """Every product is of one chunk."""

    def forward(self, ops: Ops, packed: Packed, work: Workspace) -> Tensor:
        """Logits [rows, labels] of a cross-encoder or pooled rows [rows, hidden] of an embedder, fp32."""
        config, tokens = self.config, packed.room.tokens
        x, qkv = work.residual(tokens, config.hidden), work.shared(tokens, 3 * config.hidden)
        self._embed(ops, packed, x)
        parts = chunks(tokens, work.chunk)
        for layer in self.layers:
            for part in parts:
                ops.multiply(work.taken(ops, x[part]), layer.qkv, qkv[part])
            ops.attend(qkv, packed, config.heads, config.heads)
            for part in parts:
                found = work.taken(ops, qkv[part, : config.hidden])
                ops.multiply_add(found, layer.out, x[part], room_in(qkv[part], x[part]))
                ops.normalise(x[part], layer.attention_norm, Operand(x[part]), bias=layer.out.bias)
            for part in parts:
                self._feed_forward(ops, layer, x[part], work)
        pooled = work.pooled(packed.room.rows, config.hidden)
        first = self.head is not None or self._pooling == "cls"
        ops.pool(x, packed, None, work.partial(packed.room.tiles, config.hidden), pooled, first=first)
        return pooled if self.head is None else score(ops, self.head, pooled, work)

    def _embed(self, ops: Ops, packed: Packed, x: Tensor) -> None:
        first = self.config.first_position
        positions = Table(self.positions.values[first:],
                          None if self.positions.scales is None else self.positions.scales[first:])
        ops.look_up(self.words, packed.ids, x)
        ops.look_up(positions, packed.positions, x, add=True)
        always = None
        if self.types is not None and self.config.token_types > 1:
            ops.look_up(self.types, packed.types, x, add=True)
        elif self.types is not None:
            always = _row(self.types)
        ops.normalise(x, self.embedded, Operand(x), bias=always)

    def _feed_forward(self, ops: Ops, layer: BertLayer, x: Tensor, work: Workspace) -> None:
        before, inner = work.inner(len(x), self.config.ffn, self.config.ffn)
        ops.multiply(work.taken(ops, x), layer.wide, before)
        ops.activate(before, ACTIVATIONS[self.config.activation], inner, gated=False)
        ops.multiply_add(inner, layer.narrow, x, room_in(before, x))
        ops.normalise(x, layer.output_norm, Operand(x), bias=layer.narrow.bias)


def score(ops: Ops, head: Head, pooled: Tensor, work: Workspace) -> Tensor:
    """Logits [rows, labels] fp32 of a head of two layers."""
    hidden = work.second(*pooled.shape)
    ops.multiply(Operand(pooled), head.dense, hidden)
    if head.between == "tanh":
        hidden.tanh_()
    else:
        ops.activate(hidden, head.between, Operand(hidden), gated=False)
    logits = work.pooled(len(pooled), len(head.last.values))
    ops.multiply(Operand(hidden), head.last, logits)
    return logits


def _row(table: Table) -> Tensor:
    """The only row of a table, as numbers."""
    row = table.values[0]
    return row if table.scales is None else row.float() * table.scales[0]


def _dense_slots(name: str, matrix: Matrix) -> list[Slot]:
    return [Slot(f"{name}.weight", tuple(matrix.values.shape), matrix),
            Slot(f"{name}.bias", (len(matrix.values),), Vector(matrix.bias))]


def _norm_slots(name: str, norm: Norm, hidden: int) -> list[Slot]:
    return [Slot(f"{name}.weight", (hidden,), Vector(norm.weight)), Slot(f"{name}.bias", (hidden,), Vector(norm.bias))]

