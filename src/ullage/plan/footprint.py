"""Predicted resident memory of each kind of process on a CPU.

Counted is the resident set (RSS) of the process and its children: interpreter, shared libraries as far as they
are touched, weights, arenas and activations. Every constant was measured with the versions in constraints.txt;
`ullage status` shows prediction beside measurement.
"""

from __future__ import annotations

from ullage.models.card import Card
from ullage.models.shape import parameters
from ullage.plan.cpu_backend import CpuBackend
from ullage.plan.profile import Ledger, Profile
from ullage.settings import Service

MIB = 1 << 20
SERVER_BYTES = 108 * MIB
"""Python, FastAPI, uvicorn, numpy, ONNX Runtime and tokenizers, before any model."""

FUSION_BYTES = 16 * MIB
"""The idf table and the stemmer of the bundled ranking score."""

ATTENTION_COPIES = {"int8": 5.5, "fp32": 2.1}
"""ONNX Runtime: fp32 score matrices [heads, n, n] alive at once: in the bundled graph (stored as int8), in those we
export."""

OPENVINO_BYTES = 108 * MIB
"""Of the library beyond ONNX Runtime's, and the kernels it keeps for shapes it has seen. Measured after 120 calls of 1
to 40 texts of all lengths, when it grows no more: the bundled encoder then held 348 to 353 of the 344 MiB that are
planned with it, the bundled ranking 357 to 366 of 372 (with bf16 on 16 cores, without on 2)."""

OPENVINO_COPIES = {"bundled": 5.0, "exported": 0.3}
"""OpenVINO: fp32 score matrices alive at once. It computes our own graphs' attention in tiles."""

OPENVINO_WEIGHTS = {"fp32": 8, "bf16": 6, "int8": 2}
"""Bytes of a layer's weight: as it lies in the file, which stays mapped, and as it is repacked for the kernels."""

RUN_TOKENS = 2048
"""Of one run of OpenVINO, or one longest row: more in one run is no faster."""

STORED_BYTES = {"int8": 1, "fp16": 2, "bf16": 2, "fp32": 4}

SLACK_BYTES = 24 * MIB
"""Texts and tokens of requests in flight, and what allocators keep of them."""

PLAIN_BYTES: dict[str, int] = {"rag": 228 * MIB, "ingest": 322 * MIB, "vectors": 312 * MIB, "web": 230 * MIB}
"""Services without a model. The ingestor with its reader's process at rest; a file may take that to `reader_memory` for
a while. The RAG server after 750 answers to 125 users (220), and passages of 2,000 characters in the readings it keeps.
The vector database with nothing stored; 1,000 chunks add about 26 MiB, as documents of one chunk 44 MiB. The page with
50 browsers at it (131 MiB; 114 with none), and the doctor, a process of its own for seconds when somebody asks for it
there (94 MiB)."""


def encoder_ledger(card: Card, profile: Profile, backend: CpuBackend) -> Ledger:
    """An encoder's graph on the CPU, all instances."""
    return _openvino_ledger(card, profile) if backend == "openvino" else _onnxruntime_ledger(card, profile)


def _onnxruntime_ledger(card: Card, profile: Profile) -> Ledger:
    """int8 rows run one at a time, so the longest row bounds the activations; other graphs run a whole batch.

    The bundled weights are stored as int8 and expanded to fp32 at load. Every instance has its own.
    """
    shape, copies = card.shape, profile.instances
    stored_int8 = card.precision == "int8"
    rows_at_once = profile.max_sequence if profile.precision == "int8" else profile.max_tokens
    bundled = "int8" if stored_int8 else "fp32"
    attention = ATTENTION_COPIES[bundled] * shape.heads * profile.max_sequence * rows_at_once * 4
    activations = int(attention + _linear_bytes(card, rows_at_once) + _vector_bytes(card, profile))
    weights = _expanded_bytes(card)
    return Ledger(
        fixed=SERVER_BYTES + (FUSION_BYTES if card.kind == "fusion" else 0),
        weights=weights * copies,
        # Expanding int8 to fp32 at load takes the room twice, whatever the lengths.
        activations=(max(activations, weights) if stored_int8 else activations) * copies,
        slack=SLACK_BYTES,
    )


def _openvino_ledger(card: Card, profile: Profile) -> Ledger:
    """A batch runs piece by piece, so the largest piece bounds the activations. Instances share weights."""
    rows, length = -(-run_tokens(card, profile) // profile.max_sequence), profile.max_sequence
    activations = run_bytes(card, rows, length) + _vector_bytes(card, profile)
    counted = card.parameters
    tables = card.weights_bytes if card.precision == "int8" else counted.tables * 4
    if card.precision == "int8":  # the file is the tables and the layers
        layers = counted.layers
    else:
        layers = (counted.layers + counted.head) * OPENVINO_WEIGHTS[profile.precision]
    return Ledger(
        fixed=SERVER_BYTES + OPENVINO_BYTES + (FUSION_BYTES if card.kind == "fusion" else 0),
        weights=tables + layers,
        activations=activations * profile.instances,
        slack=SLACK_BYTES,
    )


def run_tokens(card: Card, profile: Profile) -> int:
    """Padded tokens that OpenVINO takes at once: of a graph whose attention is not in tiles, one longest row."""
    most = profile.max_sequence if card.precision == "int8" else RUN_TOKENS
    return max(profile.max_sequence, min(profile.max_tokens, most))


def run_bytes(card: Card, rows: int, length: int) -> int:
    """What one run of OpenVINO takes for `rows` of `length` tokens."""
    copies = OPENVINO_COPIES["bundled" if card.precision == "int8" else "exported"]
    return int(copies * card.shape.heads * rows * length * length * 4) + _linear_bytes(card, rows * length)


def _linear_bytes(card: Card, tokens: int) -> int:
    return 2 * tokens * (card.shape.ffn + 4 * card.shape.hidden) * 4


def _vector_bytes(card: Card, profile: Profile) -> int:
    """Token vectors of one batch, for a model that scores by them."""
    return profile.max_tokens * card.shape.hidden * 4 if card.kind == "fusion" else 0


def _expanded_bytes(card: Card) -> int:
    """Weights as fp32, as ONNX Runtime computes with them."""
    if card.files and card.precision in STORED_BYTES:
        return card.weights_bytes * 4 // STORED_BYTES[card.precision]
    return parameters(card.family, card.shape, classifier=card.role == "ranking").total * 4


def plain_ledger(service: Service) -> Ledger:
    return Ledger(fixed=PLAIN_BYTES[service])
