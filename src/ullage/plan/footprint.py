"""Predicted resident memory of each kind of process on a CPU.

Counted is the resident set (RSS) of the process and its children: interpreter, shared libraries as far as they
are touched, weights, arenas and activations. Every constant was measured with the versions in constraints.txt;
`ullage status` shows prediction beside measurement.
"""

from __future__ import annotations

from ullage.models.card import Card
from ullage.models.shape import parameters
from ullage.plan.profile import Ledger, Profile
from ullage.settings import Service

MIB = 1 << 20
SERVER_BYTES = 108 * MIB
"""Python, FastAPI, uvicorn, numpy, ONNX Runtime and tokenizers, before any model."""

FUSION_BYTES = 16 * MIB
"""The idf table and the stemmer of the bundled ranking score."""

ATTENTION_COPIES = {"int8": 5.5, "fp32": 2.1}
"""fp32 score matrices [heads, n, n] alive at once: in the bundled graph (stored as int8), in those we export."""

STORED_BYTES = {"int8": 1, "fp16": 2, "bf16": 2, "fp32": 4}

SLACK_BYTES = 24 * MIB
"""Texts and tokens of requests in flight, and what allocators keep of them."""

PLAIN_BYTES: dict[str, int] = {"rag": 195 * MIB, "ingest": 205 * MIB, "vectors": 255 * MIB}
"""Services without a model. The vector database with nothing stored; 1,000 chunks add about 26 MiB."""


def encoder_ledger(card: Card, profile: Profile) -> Ledger:
    """An encoder on ONNX Runtime.

    "int8" is how the bundled weights are stored; they are expanded to fp32 at load, and rows run one at a time, so the
    longest row bounds the activations. fp32 graphs run a whole batch.
    """
    shape = card.shape
    stored_int8 = profile.precision == "int8"
    rows_at_once = profile.max_sequence if stored_int8 else profile.max_tokens
    attention = ATTENTION_COPIES[profile.precision] * shape.heads * profile.max_sequence * rows_at_once * 4
    linear = 2 * rows_at_once * (shape.ffn + 4 * shape.hidden) * 4
    fusion = card.kind == "fusion"
    vectors = profile.max_tokens * shape.hidden * 4 if fusion else 0
    weights = _expanded_bytes(card)
    activations = int(attention + linear + vectors)
    return Ledger(
        fixed=SERVER_BYTES + (FUSION_BYTES if fusion else 0),
        weights=weights,
        # Expanding int8 to fp32 at load takes the room twice, whatever the lengths.
        activations=max(activations, weights) if stored_int8 else activations,
        slack=SLACK_BYTES,
    )


def _expanded_bytes(card: Card) -> int:
    """Weights as fp32, as ONNX Runtime computes with them."""
    if card.files and card.precision in STORED_BYTES:
        return card.weights_bytes * 4 // STORED_BYTES[card.precision]
    return parameters(card.family, card.shape, classifier=card.role == "ranking").total * 4


def plain_ledger(service: Service) -> Ledger:
    return Ledger(fixed=PLAIN_BYTES[service])
