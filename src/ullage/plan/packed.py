"""Predicted memory of an encoder on the packed PyTorch engine: on a GPU, and of the process on the host.

The formula comes from the shape; the constants were measured on a whole device (`mem_get_info`), so that the CUDA
context and the workspaces of the libraries count.
"""

from __future__ import annotations

from ullage.models.card import Card, Shape
from ullage.plan.profile import Ledger, Profile

MIB = 1 << 20
BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1}

CONTEXT_BYTES = 560 * MIB
"""CUDA context, cuBLAS workspace and loaded kernels."""

HOST_BYTES = 1400 * MIB
"""Python with PyTorch, its CUDA libraries as far as they are touched, and the server."""

CHUNK_TOKENS = 4096
"""The feed-forward part runs over this many tokens at a time."""

GATED = ("llama-bidirectional", "modernbert", "qwen3")


def layer_weights(card: Card) -> int:
    """Parameters of all layers: attention and feed-forward matrices; norms and biases are less than one per mille."""
    shape = card.shape
    attention = shape.hidden * shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    feed_forward = (3 if card.family in GATED else 2) * shape.hidden * shape.ffn
    return shape.layers * (attention + feed_forward)


def table_weights(card: Card) -> int:
    """Parameters of the embedding tables: words, and learned positions where the family has them."""
    learned = card.family in ("bert", "roberta", "distilbert")
    return card.shape.hidden * (card.shape.vocab + (card.shape.positions if learned else 0))


def packed_gpu_ledger(card: Card, profile: Profile) -> Ledger:
    """Bytes on the GPU, device-wide, for one engine."""
    kept = "bf16" if profile.precision == "fp8" else profile.precision
    table = 0 if profile.host_embedding else table_weights(card) * BYTES[kept]
    return Ledger(
        fixed=CONTEXT_BYTES,
        weights=layer_weights(card) * BYTES[profile.precision] + table,
        activations=_activations(card.shape, profile, BYTES[kept]),
    )


def packed_host_ledger(card: Card, profile: Profile) -> Ledger:
    """Resident bytes of the process that drives the GPU. Pinned tables count."""
    kept = "bf16" if profile.precision == "fp8" else profile.precision
    table = table_weights(card) * BYTES[kept] if profile.host_embedding else 0
    return Ledger(fixed=HOST_BYTES, weights=table)


def packed_cpu_ledger(card: Card, profile: Profile) -> Ledger:
    """Resident bytes of the process when the same code runs on the CPU."""
    size = BYTES[profile.precision]
    return Ledger(
        fixed=HOST_BYTES // 2,
        weights=(layer_weights(card) + table_weights(card)) * size,
        activations=_activations(card.shape, profile, size),
    )


def _activations(shape: Shape, profile: Profile, size: int) -> int:
    """What a full batch holds at once: the residual stream, queries, keys, values and their output; one FFN chunk."""
    wide = shape.head_dim * (2 * shape.heads + 2 * shape.kv_heads)
    rows = profile.max_tokens * (3 * shape.hidden + wide) * size
    chunk = min(CHUNK_TOKENS, profile.max_tokens) * 3 * shape.ffn * size
    return rows + chunk
