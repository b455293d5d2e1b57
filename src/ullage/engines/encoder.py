"""From a planned card to a tokenizer and an engine that fits the plan."""

from __future__ import annotations

from pathlib import Path

from ullage.engines.base import Engine, Row
from ullage.engines.onnx_cpu import OnnxCpuEngine
from ullage.models.card import Card, Shape
from ullage.models.export_onnx import export
from ullage.models.files import locate
from ullage.models.tokenize import Tokenizer, Tokens
from ullage.plan.profile import Ledger, Profile


def open_encoder(
    card: Card, profile: Profile, ledger: Ledger, *, cache_dir: Path, threads: int, cap: bool
) -> tuple[Tokenizer, Engine]:
    """Verify the files and build the engine; nothing is loaded yet.

    `cap` bounds the engine's activations to the ledger, which holds for one engine: a service of its own asks for it.
    Raises ModelNotFound, ModelCorrupt or ModelUnsupported.
    """
    paths = locate(card, cache_dir)
    weights = paths["weights"]
    model = weights if weights.suffix == ".onnx" else export(weights.parent, cache_dir)
    engine = OnnxCpuEngine(
        model,
        pooling="none" if card.kind == "cross-encoder" else card.pooling,
        normalize=card.normalize,
        token_vectors=card.kind == "fusion",
        precision=card.precision,
        max_sequence=profile.max_sequence,
        max_batch_tokens=profile.max_tokens,
        threads=threads,
        arena_bytes=ledger.activations if cap else None,
        packed_bytes=matrix_bytes(card.shape),
    )
    return Tokenizer(paths["tokenizer"]), engine


def row_of(tokens: Tokens) -> Row:
    return Row(tokens.ids, tokens.types)


def matrix_bytes(shape: Shape) -> int:
    """fp32 weight matrices of the layers: four of attention, two of the feed-forward."""
    return shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.ffn) * 4
