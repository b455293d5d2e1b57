"""ModernBERT on packed rows: rotary positions, a gate in the feed-forward part, norms before, and windows.

Most layers attend to a window of tokens on both sides and turn positions by their own theta; every few layers one sees
the whole row. There are no biases but that of the last layer of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ullage.engines.cuda_packed.layout import chunks
from ullage.engines.cuda_packed.llama import turns
from ullage.engines.cuda_packed.tensors import Arena, Matrix, Norm, Operand, Packed, Slot, Tensor, Vector
from ullage.engines.cuda_packed.workspace import Kinds, Ops, Workspace, room_in
from ullage.models.card import Rope
from ullage.models.encoder_config import Encoder

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu"}
IGNORED = (r"head\..*", r"decoder\..*", r"classifier\..*")
"""What training leaves beside a trunk; a head that is served is asked for by name."""

@dataclass(slots=True)
class ModernBertLayer:
    """The first layer has no norm before its attention."""

    before_attention: Norm | None
    qkv: Matrix
    out: Matrix
    before_mlp: Norm
    gate: Matrix
    down: Matrix


@dataclass(slots=True)
class ModernBertHead:
    """fp32: [hidden, hidden], a norm, [labels, hidden] with its bias."""

    dense: Matrix
    norm: Norm
    last: Matrix


class ModernBert:
    """The weights of one checkpoint in `arena`, and its forward. `pooling` is that of an embedder."""

    def __init__(self, config: Encoder, pooling: str, kinds: Kinds, arena: Arena) -> None:
        self.config = config
        assert config.rope is not None
        self._rope = config.rope
        self._pooling = config.pooling if config.labels is not None else pooling
        hidden, exact = config.hidden, Kinds("fp32")
        self.words = kinds.table(arena, config.vocab, hidden)
        self.embedded = self._norm(arena)
        self.layers = [
            ModernBertLayer(
                before_attention=self._norm(arena) if index else None,
                qkv=kinds.matrix(arena, 3 * hidden, hidden),
                out=kinds.matrix(arena, hidden, hidden),
                before_mlp=self._norm(arena),
                gate=kinds.matrix(arena, 2 * config.ffn, hidden),
                down=kinds.matrix(arena, hidden, config.ffn),
            )
            for index in range(config.layers)
        ]
        self.last = self._norm(arena)
        self.head = None
        if config.labels is not None:
            self.head = ModernBertHead(exact.matrix(arena, hidden, hidden), self._norm(arena),
                                       exact.matrix(arena, config.labels, hidden, bias=True))

    def _norm(self, arena: Arena) -> Norm:
        return Norm(arena.take(self.config.hidden, dtype=torch.float32), self.config.norm_epsilon)

    def slots(self, names: Any) -> list[Slot]:
        """What the checkpoint must hold. Heads put the trunk under `model.`; bare encoders come either way."""
        config, hidden = self.config, self.config.hidden
        trunk = "model." if "model.embeddings.tok_embeddings.weight" in names else ""
        found = [Slot(f"{trunk}embeddings.tok_embeddings.weight", (config.vocab, hidden), self.words)]
        norms = [(f"{trunk}embeddings.norm", self.embedded), (f"{trunk}final_norm", self.last)]
        for index, layer in enumerate(self.layers):
            at = f"{trunk}layers.{index}."
            found += [Slot(f"{at}{name}.weight", tuple(matrix.values.shape), matrix) for name, matrix in (
                ("attn.Wqkv", layer.qkv), ("attn.Wo", layer.out), ("mlp.Wi", layer.gate), ("mlp.Wo", layer.down))]
            norms.append((f"{at}mlp_norm", layer.before_mlp))
            if layer.before_attention is not None:
                norms.append((f"{at}attn_norm", layer.before_attention))
        if self.head is not None:
            norms.append(("head.norm", self.head.norm))
            found += [Slot("head.dense.weight", (hidden, hidden), self.head.dense),
                      Slot("classifier.weight", tuple(self.head.last.values.shape), self.head.last),
                      Slot("classifier.bias", (len(self.head.last.values),), Vector(self.head.last.bias))]
        return found + [Slot(f"{name}.weight", (hidden,), Vector(norm.weight)) for name, norm in norms]

    def check(self, names: Any) -> None:
        """Nothing beyond names and shapes."""

    def turns(self, positions: int) -> list[Tensor]:
        """Of the layers that see the whole row, then of the windowed ones."""
        rope, size = self._rope, self.config.hidden // self.config.heads
        thetas = (rope.theta, rope.local_theta or rope.theta)
        return [turns(Rope(theta=theta), size, positions) for theta in thetas]

    def rehearse(self, ops: Ops, tokens: int, work: Workspace) -> None:
        """Every product is of one chunk."""

    def forward(self, ops: Ops, packed: Packed, work: Workspace) -> Tensor:
        """Logits [rows, 1] of a cross-encoder or pooled rows [rows, hidden] of an embedder, fp32."""
        config, tokens = self.config, packed.room.tokens
        x, qkv = work.residual(tokens, config.hidden), work.shared(tokens, 3 * config.hidden)
        parts = chunks(tokens, work.chunk)
        ops.look_up(self.words, packed.ids, x)
        ops.normalise(x, self.embedded, Operand(x))
        reach = (self._rope.window or 0) // 2
        for layer, whole in zip(self.layers, config.full_layers, strict=True):
            angles = work.turns[0 if whole else 1]
            for part in parts:
                ops.multiply(self._before(ops, layer, x[part], work), layer.qkv, qkv[part])
            ops.rotate(qkv, packed.positions, angles, 2 * config.heads)
            ops.attend(qkv, packed, config.heads, config.heads, None if whole else reach)
            for part in parts:
                found = work.taken(ops, qkv[part, : config.hidden])
                ops.multiply_add(found, layer.out, x[part], room_in(qkv[part], x[part]))
            for part in parts:
                self._feed_forward(ops, layer, x[part], work)
        pooled = work.pooled(packed.room.rows, config.hidden)
        partial = work.partial(packed.room.tiles, config.hidden)
        ops.pool(x, packed, self.last, partial, pooled, first=self._pooling == "cls")
        return pooled if self.head is None else self._score(ops, self.head, pooled, work)

    def _before(self, ops: Ops, layer: ModernBertLayer, x: Tensor, work: Workspace) -> Operand:
        if layer.before_attention is None:
            return work.taken(ops, x)
        operand = work.operand(len(x), self.config.hidden)
        ops.normalise(x, layer.before_attention, operand)
        return operand

    def _feed_forward(self, ops: Ops, layer: ModernBertLayer, x: Tensor, work: Workspace) -> None:
        operand = work.operand(len(x), self.config.hidden)
        ops.normalise(x, layer.before_mlp, operand)
        wide, inner = work.inner(len(x), 2 * self.config.ffn, self.config.ffn)
        ops.multiply(operand, layer.gate, wide)
        ops.activate(wide, ACTIVATIONS[self.config.activation], inner, gated=True)
        ops.multiply_add(inner, layer.down, x, room_in(wide, x))

    def _score(self, ops: Ops, head: ModernBertHead, pooled: Tensor, work: Workspace) -> Tensor:
        hidden = work.second(*pooled.shape)
        ops.multiply(Operand(pooled), head.dense, hidden)
        ops.activate(hidden, ACTIVATIONS[self.config.head_activation], Operand(hidden), gated=False)
        ops.normalise(hidden, head.norm, Operand(hidden))
        logits = work.pooled(len(pooled), len(head.last.values))
        ops.multiply(Operand(hidden), head.last, logits)
        return logits
