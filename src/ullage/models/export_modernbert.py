"""The ModernBERT part of the ONNX exporter: rotary positions, windows of attention, gated feed-forward, norms before.

Two masks are made once and shared by all layers: every real key, and every real key within half the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ullage.models.checkpoint import Weights
from ullage.models.encoder_config import ACTIVATIONS, Encoder

if TYPE_CHECKING:
    from ullage.models.onnx_writer import OnnxWriter

MASKED = -1e9
"""Added to the score of a key out of reach; exp of it is exactly 0 in fp32."""


@dataclass(frozen=True, slots=True)
class _Reach:
    """What layers of one kind share: cosine and sine [tokens, head_dim] of the positions, and the mask's bias."""

    cosine: str
    sine: str
    bias: str


def trunk(graph: OnnxWriter, encoder: Encoder, weights: Weights, prefix: str) -> str:
    """Writes the graph from `input_ids` and `attention_mask` to the last hidden state, whose name it returns."""
    ids, mask = graph.input("input_ids"), graph.input("attention_mask")
    words = weights.read(f"{prefix}embeddings.tok_embeddings.weight", encoder.vocab, encoder.hidden)
    hidden = _norm(graph, encoder, weights, f"{prefix}embeddings.norm", graph.gather(words, ids))
    reaches = _reaches(graph, encoder, ids, mask)
    for index in range(encoder.layers):
        hidden = _layer(graph, encoder, weights, f"{prefix}layers.{index}.", hidden,
                        reaches[encoder.full_layers[index]], normed=index > 0)
    return _norm(graph, encoder, weights, f"{prefix}final_norm", hidden)


def head(graph: OnnxWriter, encoder: Encoder, weights: Weights, _: str, hidden: str) -> str:
    """Pool as the config says, one dense layer with a norm, and the classifier."""
    wide = encoder.hidden
    pooled = graph.mean_over(hidden, "attention_mask") if encoder.pooling == "mean" else graph.first_token(hidden)
    dense = graph.multiply(pooled, weights.read("head.dense.weight", wide, wide).T)
    dense = graph.gelu(dense, ACTIVATIONS[encoder.head_activation])
    dense = _norm(graph, encoder, weights, "head.norm", dense)
    labels = encoder.labels or 1
    weight = weights.read("classifier.weight", labels, wide)
    return graph.linear(dense, weight.T, weights.read("classifier.bias", labels))


def _reaches(graph: OnnxWriter, encoder: Encoder, ids: str, mask: str) -> dict[bool, _Reach]:
    """For layers that see everything (True) and for those that see a window (False), as far as there are any."""
    rope = encoder.rope
    assert rope is not None
    assert rope.local_theta is not None
    everything = graph.key_bias(mask, MASKED)
    made: dict[bool, _Reach] = {}
    if any(encoder.full_layers):
        made[True] = _Reach(*graph.rotations(ids, _frequencies(encoder, rope.theta)), everything)
    if not all(encoder.full_layers):
        assert rope.window is not None
        near = graph.add(everything, graph.distance_bias(ids, rope.window // 2, MASKED))
        made[False] = _Reach(*graph.rotations(ids, _frequencies(encoder, rope.local_theta)), near)
    return made


def _frequencies(encoder: Encoder, theta: float) -> npt.NDArray[np.float32]:
    """Radians per token of each pair of a head's numbers, [head_dim / 2], in fp32 as in the reference."""
    width = encoder.hidden // encoder.heads
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    return np.asarray(1.0 / np.power(np.float32(theta), exponents), np.float32)


def _layer(
    graph: OnnxWriter, encoder: Encoder, weights: Weights, layer: str, hidden: str, reach: _Reach, normed: bool
) -> str:
    """Attention and gated feed-forward, each after its norm and added to what came in; the first layer's input has
    been normed already."""
    wide, narrow = encoder.hidden, encoder.ffn
    seen = _norm(graph, encoder, weights, f"{layer}attn_norm", hidden) if normed else hidden
    attended = _attention(graph, encoder, weights, layer, seen, reach)
    hidden = graph.add(hidden, attended)
    seen = _norm(graph, encoder, weights, f"{layer}mlp_norm", hidden)
    both = weights.read(f"{layer}mlp.Wi.weight", 2 * narrow, wide)
    inner = graph.gelu(graph.multiply(seen, both[:narrow].T), ACTIVATIONS[encoder.activation])
    gated = graph.scale(inner, graph.multiply(seen, both[narrow:].T))
    return graph.add(hidden, graph.multiply(gated, weights.read(f"{layer}mlp.Wo.weight", wide, narrow).T))


def _attention(
    graph: OnnxWriter, encoder: Encoder, weights: Weights, layer: str, seen: str, reach: _Reach
) -> str:
    wide, heads = encoder.hidden, encoder.heads
    head_dim = wide // heads
    joined = weights.read(f"{layer}attn.Wqkv.weight", 3 * wide, wide)
    query, key, value = (
        graph.split_heads(graph.multiply(seen, part.T), heads, head_dim, transposed=False)
        for part in np.split(joined, 3)
    )
    query, key = (graph.rotate(part, reach.cosine, reach.sine, head_dim) for part in (query, key))
    attended = graph.merge_heads(graph.attend(query, graph.swap(key), value, reach.bias, head_dim), wide)
    return graph.multiply(attended, weights.read(f"{layer}attn.Wo.weight", wide, wide).T)


def _norm(graph: OnnxWriter, encoder: Encoder, weights: Weights, name: str, hidden: str) -> str:
    """A layer norm without a shift."""
    scale = weights.read(f"{name}.weight", encoder.hidden)
    return graph.layer_norm(hidden, scale, np.zeros_like(scale), encoder.norm_epsilon)
