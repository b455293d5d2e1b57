"""From a published encoder checkpoint to an ONNX graph in fp32 or int8, without the code that trained it.

Served are the BERT family's encoders (BERT, RoBERTa, XLM-RoBERTa, DistilBERT, and ModernBERT in `export_modernbert`),
bare or with a classification head.
Every config value the numbers depend on is asserted, every tensor's shape is checked, and a tensor of the trunk that
the graph has no place for is a refusal: a checkpoint is served right or not at all.

The graph takes `input_ids` and `attention_mask` (BERT also `token_type_ids`), [rows, tokens] int64, and gives
`last_hidden_state` [rows, tokens, hidden] or `logits` [rows, labels]. Attention is bidirectional.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ullage.errors import ModelNotFound, ModelUnsupported
from ullage.models import export_modernbert
from ullage.models.card import Family
from ullage.models.checkpoint import WEIGHTS, Config, Weights, weight_files
from ullage.models.encoder_config import ACTIVATIONS, EXPORTED, FAMILIES, Encoder, read_encoder
from ullage.models.files import sha256

if TYPE_CHECKING:
    from ullage.models.onnx_writer import Form, OnnxWriter

EXPORTER_VERSION = 1
EXPORTS = "exports"
MODEL_FILE = "model.onnx"

MASKED = -1e9
"""Added to the score of a padded key; exp of it is exactly 0 in fp32."""


def export(folder: Path, cache_dir: Path, form: Form = "fp32") -> Path:
    """The graph of `folder`, written once: kept under the SHA-256 of weights, config, exporter and form.

    Embeddings, norms and the head stay fp32 in every form.

    Raises ModelNotFound, ModelCorrupt or ModelUnsupported.
    """
    config = Config(folder / "config.json")
    encoder = read_encoder(config)
    if encoder.family not in EXPORTED:
        raise ModelUnsupported(f"{config.path} is a {encoder.family} model, of which no ONNX graph is made: it runs on "
                               "the packed engine")
    paths = weight_files(folder)
    if not paths:
        raise ModelNotFound(f"{folder} has no {WEIGHTS}")
    with Weights(*paths) as weights:
        target = cache_dir / EXPORTS / _key(config, paths, form) / MODEL_FILE
        if target.is_file():
            return target
        target.parent.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent.parent, prefix="export-") as scratch:
            made = Path(scratch) / "whole"
            made.mkdir()
            _write(encoder, config, weights, made, form)
            try:
                made.rename(target.parent)
            except OSError:
                if not target.is_file():  # else another process was first, with the same bytes
                    raise
    return target


def _key(config: Config, paths: tuple[Path, ...], form: Form) -> str:
    whole = hashlib.sha256(f"ullage exporter {EXPORTER_VERSION} {form}\n".encode())
    for path in paths:
        whole.update(sha256(path).encode())
    whole.update(config.path.read_bytes())
    return whole.hexdigest()


def _write(encoder: Encoder, config: Config, weights: Weights, folder: Path, form: Form) -> None:
    from ullage.models.onnx_writer import OnnxWriter  # onnx costs 11 MiB, and only an export needs it

    with OnnxWriter(folder / MODEL_FILE, form) as graph:
        trunk = _trunk_prefix(config, weights)
        hidden = _TRUNKS[encoder.family](graph, encoder, weights, trunk)
        graph.form = "fp32"
        if encoder.labels is None:
            graph.output("last_hidden_state", hidden, ["rows", "tokens", encoder.hidden])
        else:
            head = _HEADS[encoder.family](graph, encoder, weights, trunk, hidden)
            graph.output("logits", head, ["rows", encoder.labels])
        _assert_all_read(encoder, weights, trunk)


def _trunk_prefix(config: Config, weights: Weights) -> str:
    """Heads put the trunk under its own name; bare encoders may have been saved either way."""
    family = FAMILIES[config.model_type]
    name, words = ("model.", "tok_embeddings") if family == "modernbert" else (f"{family}.", "word_embeddings")
    return name if f"{name}embeddings.{words}.weight" in weights else ""


def _assert_all_read(encoder: Encoder, weights: Weights, trunk: str) -> None:
    """A tensor of the trunk left over means a model that is not what its config says."""
    heads = ("pooler.", "cls.", "lm_head.", "vocab_", "classifier.", "pre_classifier.", "head.", "decoder.")
    for name in sorted(weights.unread):
        inner = name.removeprefix(trunk)
        if not inner.endswith("position_ids") and not inner.startswith(heads):
            raise ModelUnsupported(f"{weights.path} holds {name}, for which a {encoder.family} of "
                                   f"{encoder.layers} layers has no place")


def _bert_trunk(graph: OnnxWriter, encoder: Encoder, weights: Weights, trunk: str) -> str:
    """BERT and RoBERTa: they differ in where positions start and in who has token types."""
    table = f"{trunk}embeddings."
    ids, mask = graph.input("input_ids"), graph.input("attention_mask")
    words = graph.gather(weights.read(f"{table}word_embeddings.weight", encoder.vocab, encoder.hidden), ids)
    types = weights.read(f"{table}token_type_embeddings.weight", encoder.token_types, encoder.hidden)
    if encoder.token_types > 1:
        typed = graph.add(words, graph.gather(types, graph.input("token_type_ids")))
    else:
        typed = graph.add(words, graph.constant(types[0]))
    positions = weights.read(f"{table}position_embeddings.weight", encoder.positions, encoder.hidden)
    if encoder.family == "roberta":
        placed = graph.gather(positions, graph.places_without(ids, encoder.padding_id))
    else:
        placed = graph.first_rows(positions, ids)
    hidden = _norm(graph, encoder, weights, f"{table}LayerNorm", graph.add(typed, placed))
    bias = graph.key_bias(mask, MASKED)
    for index in range(encoder.layers):
        layer = f"{trunk}encoder.layer.{index}."
        names = _Layer(
            query=f"{layer}attention.self.query",
            key=f"{layer}attention.self.key",
            value=f"{layer}attention.self.value",
            out=f"{layer}attention.output.dense",
            attention_norm=f"{layer}attention.output.LayerNorm",
            wide=f"{layer}intermediate.dense",
            narrow=f"{layer}output.dense",
            output_norm=f"{layer}output.LayerNorm",
        )
        hidden = _block(graph, encoder, weights, names, hidden, bias)
    return hidden


def _distilbert_trunk(graph: OnnxWriter, encoder: Encoder, weights: Weights, trunk: str) -> str:
    table = f"{trunk}embeddings."
    ids, mask = graph.input("input_ids"), graph.input("attention_mask")
    words = graph.gather(weights.read(f"{table}word_embeddings.weight", encoder.vocab, encoder.hidden), ids)
    positions = weights.read(f"{table}position_embeddings.weight", encoder.positions, encoder.hidden)
    placed = graph.add(words, graph.first_rows(positions, ids))
    hidden = _norm(graph, encoder, weights, f"{table}LayerNorm", placed)
    bias = graph.key_bias(mask, MASKED)
    for index in range(encoder.layers):
        layer = f"{trunk}transformer.layer.{index}."
        names = _Layer(
            query=f"{layer}attention.q_lin",
            key=f"{layer}attention.k_lin",
            value=f"{layer}attention.v_lin",
            out=f"{layer}attention.out_lin",
            attention_norm=f"{layer}sa_layer_norm",
            wide=f"{layer}ffn.lin1",
            narrow=f"{layer}ffn.lin2",
            output_norm=f"{layer}output_layer_norm",
        )
        hidden = _block(graph, encoder, weights, names, hidden, bias)
    return hidden


@dataclass(frozen=True, slots=True)
class _Layer:
    """Tensor names of one layer, without `.weight` and `.bias`."""

    query: str
    key: str
    value: str
    out: str
    attention_norm: str
    wide: str
    narrow: str
    output_norm: str


def _block(graph: OnnxWriter, encoder: Encoder, weights: Weights, names: _Layer, hidden: str, bias: str) -> str:
    """Attention and MLP, each followed by its residual and norm (post-norm, as published in 2018)."""
    wide, narrow = encoder.hidden, encoder.ffn
    head_dim = encoder.hidden // encoder.heads
    query, key, value = (
        graph.split_heads(_linear(graph, weights, name, wide, wide, hidden), encoder.heads, head_dim, transposed)
        for name, transposed in ((names.query, False), (names.key, True), (names.value, False))
    )
    attended = graph.merge_heads(graph.attend(query, key, value, bias, head_dim), encoder.hidden)
    attended = _linear(graph, weights, names.out, wide, wide, attended)
    hidden = _norm(graph, encoder, weights, names.attention_norm, graph.add(attended, hidden))
    inner = graph.gelu(_linear(graph, weights, names.wide, wide, narrow, hidden), ACTIVATIONS[encoder.activation])
    inner = _linear(graph, weights, names.narrow, narrow, wide, inner)
    return _norm(graph, encoder, weights, names.output_norm, graph.add(inner, hidden))


def _linear(graph: OnnxWriter, weights: Weights, name: str, width_in: int, width_out: int, hidden: str) -> str:
    weight = weights.read(f"{name}.weight", width_out, width_in)
    return graph.linear(hidden, weight.T, weights.read(f"{name}.bias", width_out))


def _norm(graph: OnnxWriter, encoder: Encoder, weights: Weights, name: str, hidden: str) -> str:
    scale, shift = (weights.read(f"{name}.{part}", encoder.hidden) for part in ("weight", "bias"))
    return graph.layer_norm(hidden, scale, shift, encoder.norm_epsilon)


def _bert_head(graph: OnnxWriter, encoder: Encoder, weights: Weights, trunk: str, hidden: str) -> str:
    first = graph.first_token(hidden)
    pooled = graph.tanh(_linear(graph, weights, f"{trunk}pooler.dense", encoder.hidden, encoder.hidden, first))
    return _linear(graph, weights, "classifier", encoder.hidden, _labels(encoder), pooled)


def _roberta_head(graph: OnnxWriter, encoder: Encoder, weights: Weights, _: str, hidden: str) -> str:
    first = graph.first_token(hidden)
    pooled = graph.tanh(_linear(graph, weights, "classifier.dense", encoder.hidden, encoder.hidden, first))
    return _linear(graph, weights, "classifier.out_proj", encoder.hidden, _labels(encoder), pooled)


def _distilbert_head(graph: OnnxWriter, encoder: Encoder, weights: Weights, _: str, hidden: str) -> str:
    first = graph.first_token(hidden)
    pooled = graph.relu(_linear(graph, weights, "pre_classifier", encoder.hidden, encoder.hidden, first))
    return _linear(graph, weights, "classifier", encoder.hidden, _labels(encoder), pooled)


def _labels(encoder: Encoder) -> int:
    assert encoder.labels is not None
    return encoder.labels


_TRUNKS: dict[Family, Callable[[OnnxWriter, Encoder, Weights, str], str]] = {
    "bert": _bert_trunk,
    "roberta": _bert_trunk,
    "distilbert": _distilbert_trunk,
    "modernbert": export_modernbert.trunk,
}
_HEADS: dict[Family, Callable[[OnnxWriter, Encoder, Weights, str, str], str]] = {
    "bert": _bert_head,
    "roberta": _roberta_head,
    "distilbert": _distilbert_head,
    "modernbert": export_modernbert.head,
}
