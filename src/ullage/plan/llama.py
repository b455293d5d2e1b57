"""Predicted resident memory of a llama.cpp process on a CPU.

Measured with xllamacpp 2026.10.11549 and SmolLM2-135M Q4_1, contexts of 1024 to 8192 tokens and micro-batches of
64 to 512: the key/value cache is exactly its formula and is written at load; the rest does not move with the context.
"""

from __future__ import annotations

from ullage.models.card import Card, Shape
from ullage.plan.profile import Ledger, Profile

MIB = 1 << 20

SERVING_BYTES = 104 * MIB
"""Python with the server's libraries, and what is touched of the 100 MiB llama.cpp library."""

VOCABULARY_BYTES = 480
"""Per vocabulary entry: token texts, merges and the tables that look them up."""

CACHE_BYTES = 2
"""fp16 keys and values."""

MASK_BYTES = 2
"""Per (token of a micro-batch, token of the context)."""

COMPUTE_BYTES = 1536 << 10
"""What the compute graph takes whatever the micro-batch."""

MICRO_BATCH_TOKENS = 256
"""Prompt tokens run at once: a larger one is no faster on a CPU, and a cancelled prompt stops within one."""


def llama_envelope(
    shape: Shape, file_bytes: int, context_tokens: int, ubatch: int = MICRO_BATCH_TOKENS, parallel: int = 1
) -> dict[str, int]:
    """Bytes of each part for `parallel` sequences of `context_tokens` each.

    Mapped weights count as resident: every generated token touches all of them.
    """
    cells = context_tokens * parallel
    return {
        "serving": SERVING_BYTES,
        "vocabulary": shape.vocab * VOCABULARY_BYTES,
        "weights": file_bytes,
        "kv_cache": shape.layers * shape.kv_heads * shape.head_dim * 2 * CACHE_BYTES * cells,
        "compute": COMPUTE_BYTES + ubatch * _row_bytes(shape) + ubatch * cells * MASK_BYTES,
    }


def llama_ledger(card: Card, profile: Profile) -> Ledger:
    """The envelope of a card's profile, in the parts every ledger has."""
    parts = llama_envelope(
        card.shape, card.weights_bytes, profile.max_sequence, parallel=profile.max_tokens // profile.max_sequence
    )
    return Ledger(
        fixed=parts["serving"] + parts["vocabulary"],
        weights=parts["weights"],
        activations=parts["kv_cache"] + parts["compute"],
    )


def _row_bytes(shape: Shape) -> int:
    """fp32 activations of one token that are alive at once: the two halves of the gated FFN and five hidden rows."""
    return (2 * shape.ffn + 5 * shape.hidden) * 4
