"""A Llama whose tokens see each other both ways: reranker and embedder of the llama-3.2-1b family.

Read from the top: the config, rotary positions, the weights, the forward. Rows lie end to end; every step but
attention is token-wise and runs over chunks, so that memory grows with the residual stream and the projections alone.
Numbers: llama3-scaled RoPE at every length with the halves of a head turned together, RMSNorm, SwiGLU, the mean over
all tokens of a row in fp32, and a head without bias, divided by the temperature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ullage.engines.cuda_packed.layout import chunks
from ullage.engines.cuda_packed.tensors import (
    Arena,
    Matrix,
    Norm,
    Packed,
    Part,
    Slot,
    Tensor,
    Vector,
)
from ullage.engines.cuda_packed.workspace import Kinds, Ops, Workspace, room_in
from ullage.errors import ModelUnsupported
from ullage.models.card import Rope
from ullage.models.encoder_config import Encoder

IGNORED = (r"(model\.)?layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"lm_head\.weight")
"""Tensors that a checkpoint may hold and that no number depends on."""


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """`labels` is None for an embedder. `rope` has llama3 scaling, or plain frequencies where its factor is None."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    norm_epsilon: float
    rope: Rope
    labels: int | None
    temperature: float

    @classmethod
    def of(cls, encoder: Encoder) -> LlamaConfig:
        """From a config that `config.read_config` has asserted."""
        shape = encoder.shape
        assert encoder.rope is not None
        return cls(shape.hidden, shape.layers, shape.heads, shape.kv_heads, shape.head_dim, shape.ffn, shape.vocab,
                   encoder.norm_epsilon, encoder.rope, encoder.labels, encoder.temperature)

    @property
    def wide(self) -> int:
        """Columns of queries, keys and values together."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def attended(self) -> int:
        """Columns of what attention gives."""
        return self.heads * self.head_dim


def frequencies(rope: Rope, head_dim: int) -> Tensor:
    """[head_dim / 2] fp32, as transformers' `_compute_llama3_parameters`: long waves slowed by `factor`, short ones
    left alone, and a ramp between."""
    plain = 1.0 / (rope.theta ** (torch.arange(0, head_dim, 2, dtype=torch.int64).float() / head_dim))
    if rope.factor is None:
        return plain
    assert rope.low is not None
    assert rope.high is not None
    assert rope.original is not None
    waves = 2 * math.pi / plain
    slow = plain / rope.factor
    ramp = (rope.original / waves - rope.low) / (rope.high - rope.low)
    mixed = (1 - ramp) * slow + ramp * plain
    found = torch.where(waves > rope.original / rope.low, slow, mixed)
    return torch.where(waves < rope.original / rope.high, plain, found)


def turns(rope: Rope, head_dim: int, positions: int) -> Tensor:
    """Cosine and sine of every position: [positions, 2, head_dim / 2] fp32."""
    angles = torch.arange(positions).float()[:, None] * frequencies(rope, head_dim)[None, :]
    return torch.stack((angles.cos(), angles.sin()), dim=1)


@dataclass(slots=True)
class LlamaLayer:
    before_attention: Norm
    qkv: Matrix
    out: Matrix
    before_mlp: Norm
    gate_up: Matrix
    down: Matrix


class Llama:
    """The weights of one checkpoint in `arena`, and its forward. `slots` says what goes where."""

    def __init__(self, config: LlamaConfig, kinds: Kinds, arena: Arena) -> None:
        self.config = config
        self._kinds = kinds
        wide, hidden = config.wide, config.hidden
        self.words = kinds.table(arena, config.vocab, hidden)
        self.layers = [
            LlamaLayer(
                before_attention=self._norm(arena),
                qkv=kinds.matrix(arena, wide, hidden),
                out=kinds.matrix(arena, hidden, config.attended),
                before_mlp=self._norm(arena),
                gate_up=kinds.matrix(arena, 2 * config.ffn, hidden),
                down=kinds.matrix(arena, hidden, config.ffn),
            )
            for _ in range(config.layers)
        ]
        self.last = self._norm(arena)
        self.head = arena.take(config.labels, hidden, dtype=torch.float32) if config.labels else None

    def _norm(self, arena: Arena) -> Norm:
        weight = arena.take(self.config.hidden, dtype=torch.float32)
        return Norm(weight, self.config.norm_epsilon, centred=False)

    def slots(self, names: Any) -> list[Slot]:
        """What the checkpoint must hold. The vendor's embedder keeps its trunk without the prefix `model.`."""
        config = self.config
        trunk = "model." if "model.embed_tokens.weight" in names else ""
        found = [Slot(f"{trunk}embed_tokens.weight", (config.vocab, config.hidden), self.words),
                 Slot(f"{trunk}norm.weight", (config.hidden,), Vector(self.last.weight))]
        if self.head is not None:
            found.append(Slot("score.weight", tuple(self.head.shape), Matrix(self.head)))
        for index, layer in enumerate(self.layers):
            found += self._layer_slots(f"{trunk}layers.{index}.", layer)
        return found

    def _layer_slots(self, at: str, layer: LlamaLayer) -> list[Slot]:
        config = self.config
        hidden, ffn = config.hidden, config.ffn
        queries, keys = config.attended, config.kv_heads * config.head_dim
        return [
            Slot(f"{at}input_layernorm.weight", (hidden,), Vector(layer.before_attention.weight)),
            Slot(f"{at}self_attn.q_proj.weight", (queries, hidden), Part(layer.qkv, 0)),
            Slot(f"{at}self_attn.k_proj.weight", (keys, hidden), Part(layer.qkv, queries)),
            Slot(f"{at}self_attn.v_proj.weight", (keys, hidden), Part(layer.qkv, queries + keys)),
            Slot(f"{at}self_attn.o_proj.weight", (hidden, queries), layer.out),
            Slot(f"{at}post_attention_layernorm.weight", (hidden,), Vector(layer.before_mlp.weight)),
            Slot(f"{at}mlp.gate_proj.weight", (ffn, hidden), Part(layer.gate_up, 0)),
            Slot(f"{at}mlp.up_proj.weight", (ffn, hidden), Part(layer.gate_up, ffn)),
            Slot(f"{at}mlp.down_proj.weight", (hidden, ffn), layer.down),
        ]

    def check(self, names: Any) -> None:
        """Raises ModelUnsupported for tensors that would change the numbers, by name."""
        if "score.bias" in names:
            raise ModelUnsupported("the checkpoint holds score.bias: served is a head without bias")

    def turns(self, positions: int) -> list[Tensor]:
        return [turns(self.config.rope, self.config.head_dim, positions)]

    def rehearse(self, ops: Ops, tokens: int, work: Workspace) -> None:
        """Run the products that are not of one chunk, over whatever is there."""
        x, qkv = work.residual(tokens, self.config.hidden), work.shared(tokens, self.config.wide)
        spare = work.spare(tokens, self.config.wide)
        layer = self.layers[0]
        self._project(ops, layer, x, qkv, work, spare)
        self._attended(ops, layer, qkv, x, work, spare)

    def forward(self, ops: Ops, packed: Packed, work: Workspace) -> Tensor:
        """Logits [rows, 1] of a reranker or pooled rows [rows, hidden] of an embedder, fp32."""
        config = self.config
        tokens = packed.room.tokens
        x, qkv = work.residual(tokens, config.hidden), work.shared(tokens, config.wide)
        spare = work.spare(tokens, config.wide)
        ops.look_up(self.words, packed.ids, x)
        for layer in self.layers:
            self._project(ops, layer, x, qkv, work, spare)
            ops.rotate(qkv, packed.positions, work.turns[0], config.heads + config.kv_heads)
            ops.attend(qkv, packed, config.heads, config.kv_heads)
            self._attended(ops, layer, qkv, x, work, spare)
            for part in chunks(tokens, work.chunk):
                self._feed_forward(ops, layer, x[part], work)
        pooled = work.pooled(packed.room.rows, config.hidden)
        ops.pool(x, packed, self.last, work.partial(packed.room.tiles, config.hidden), pooled, first=False)
        if self.head is None:
            return pooled
        logits = work.logits(packed.room.rows, 1)
        ops.score(pooled, self.head, config.temperature, logits)
        return logits

    def _project(self, ops: Ops, layer: LlamaLayer, x: Tensor, qkv: Tensor, work: Workspace, spare: Tensor) -> None:
        """All tokens at once where `spare` has room for them, which is faster."""
        hidden = self.config.hidden
        for part in chunks(len(x), work.most(spare, hidden)):
            operand = work.operand(len(x[part]), hidden, spare)
            ops.normalise(x[part], layer.before_attention, operand)
            ops.multiply(operand, layer.qkv, qkv[part])

    def _attended(self, ops: Ops, layer: LlamaLayer, qkv: Tensor, x: Tensor, work: Workspace, spare: Tensor) -> None:
        """x += what attention left in the place of the queries, projected."""
        attended = self.config.attended
        for part in chunks(len(x), work.most(spare, attended)):
            found = work.taken(ops, qkv[part, :attended], spare)
            ops.multiply_add(found, layer.out, x[part], room_in(qkv[part], x[part]))

    def _feed_forward(self, ops: Ops, layer: LlamaLayer, x: Tensor, work: Workspace) -> None:
        operand = work.operand(len(x), self.config.hidden)
        ops.normalise(x, layer.before_mlp, operand)
        wide, inner = work.inner(len(x), 2 * self.config.ffn, self.config.ffn)
        ops.multiply(operand, layer.gate_up, wide)
        ops.activate(wide, "silu", inner, gated=True)
        ops.multiply_add(inner, layer.down, x, room_in(wide, x))
