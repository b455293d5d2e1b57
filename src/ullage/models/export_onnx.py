"""From a published encoder checkpoint to an ONNX graph in fp32, without the code that trained it.

Served are the BERT family's encoders (BERT, RoBERTa, XLM-RoBERTa, DistilBERT), bare or with a classification head.
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
from typing import TYPE_CHECKING, Literal

from ullage.errors import ModelUnsupported
from ullage.models.checkpoint import WEIGHTS, Config, Weights
from ullage.models.files import sha256

if TYPE_CHECKING:
    from ullage.models.onnx_writer import OnnxWriter

EXPORTER_VERSION = 1
MODEL_FILE = "model.onnx"

ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
"""Published name -> the `approximate` attribute of ONNX Gelu."""

MASKED = -1e9
"""Added to the score of a padded key; exp of it is exactly 0 in fp32."""

Family = Literal["bert", "roberta", "distilbert"]
FAMILIES: dict[str, Family] = {
    "bert": "bert",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
    "camembert": "roberta",
    "distilbert": "distilbert",
}
CLASS_NAMES: dict[str, str] = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "distilbert": "DistilBert",
}


@dataclass(frozen=True, slots=True)
class Encoder:
    """The shape of one encoder, as config.json states it. `labels` is None without a classification head.

    Row `first_position` of the position table belongs to the first token.
    """

    family: Family
    hidden: int
    layers: int
    heads: int
    ffn: int
    vocab: int
    positions: int
    token_types: int
    norm_epsilon: float
    activation: str
    padding_id: int
    labels: int | None

    @property
    def first_position(self) -> int:
        return self.padding_id + 1 if self.family == "roberta" else 0

    @property
    def max_sequence(self) -> int:
        return self.positions - self.first_position


def read_encoder(config: Config) -> Encoder:
    """Raises ModelUnsupported or ModelCorrupt naming the value that stands in the way."""
    kind = config.model_type
    if kind not in FAMILIES:
        raise ModelUnsupported(f"{config.path} has model_type={kind!r}: served are {', '.join(FAMILIES)}")
    name = CLASS_NAMES[kind]
    served = (f"{name}Model", f"{name}ForMaskedLM", f"{name}ForSequenceClassification")
    if config.architecture not in served:
        raise ModelUnsupported(f"{config.path} has architecture {config.architecture!r}: "
                               f"served are {', '.join(served)}")
    _assert_plain(config)
    family = FAMILIES[kind]
    distil = family == "distilbert"
    encoder = Encoder(
        family=family,
        hidden=config.integer("hidden_size", "dim"),
        layers=config.integer("num_hidden_layers", "n_layers"),
        heads=config.integer("num_attention_heads", "n_heads"),
        ffn=config.integer("hidden_dim") if distil else config.integer("intermediate_size"),
        vocab=config.integer("vocab_size"),
        positions=config.integer("max_position_embeddings"),
        token_types=0 if distil else config.integer("type_vocab_size"),
        norm_epsilon=1e-12 if distil else config.number("layer_norm_eps", 1e-12),
        activation=config.one_of("activation" if distil else "hidden_act", tuple(ACTIVATIONS), "gelu"),
        padding_id=config.integer("pad_token_id", at_least=0) if family == "roberta" else 0,
        labels=config.labels if config.architecture.endswith("ForSequenceClassification") else None,
    )
    if encoder.hidden % encoder.heads:
        raise ModelUnsupported(f"{config.path} has hidden size {encoder.hidden}, not a multiple of "
                               f"{encoder.heads} heads")
    return encoder


def _assert_plain(config: Config) -> None:
    """Refuse the options of this family that change the numbers and that the graph does not have."""
    config.one_of("position_embedding_type", ("absolute",), "absolute")
    config.one_of("is_decoder", (False,), False)
    config.one_of("is_encoder_decoder", (False,), False)
    config.one_of("add_cross_attention", (False,), False)
    config.one_of("pruned_heads", ({},), {})


def export(folder: Path, cache_dir: Path) -> Path:
    """The graph of `folder`, written once: kept under the SHA-256 of weights, config and exporter.

    Raises ModelNotFound, ModelCorrupt or ModelUnsupported.
    """
    config = Config(folder / "config.json")
    encoder = read_encoder(config)
    with Weights(folder / WEIGHTS) as weights:
        target = cache_dir / "exports" / _key(folder) / MODEL_FILE
        if target.is_file():
            return target
        target.parent.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent.parent, prefix="export-") as scratch:
            made = Path(scratch) / "whole"
            made.mkdir()
            _write(encoder, config, weights, made)
            try:
                made.rename(target.parent)
            except OSError:
                if not target.is_file():  # else another process was first, with the same bytes
                    raise
    return target


def _key(folder: Path) -> str:
    whole = hashlib.sha256(f"ullage exporter {EXPORTER_VERSION}\n".encode())
    whole.update(sha256(folder / WEIGHTS).encode())
    whole.update((folder / "config.json").read_bytes())
    return whole.hexdigest()


def _write(encoder: Encoder, config: Config, weights: Weights, folder: Path) -> None:
    from ullage.models.onnx_writer import OnnxWriter  # onnx costs 11 MiB, and only an export needs it

    with OnnxWriter(folder / MODEL_FILE) as graph:
        trunk = _trunk_prefix(config, weights)
        hidden = _TRUNKS[encoder.family](graph, encoder, weights, trunk)
        if encoder.labels is None:
            graph.output("last_hidden_state", hidden, ["rows", "tokens", encoder.hidden])
        else:
            head = _HEADS[encoder.family](graph, encoder, weights, trunk, graph.first_token(hidden))
            graph.output("logits", head, ["rows", encoder.labels])
        _assert_all_read(encoder, weights, trunk)


def _trunk_prefix(config: Config, weights: Weights) -> str:
    """Heads put the trunk under its own name; bare encoders may have been saved either way."""
    name = "distilbert." if config.model_type == "distilbert" else FAMILIES[config.model_type] + "."
    return name if f"{name}embeddings.word_embeddings.weight" in weights else ""


def _assert_all_read(encoder: Encoder, weights: Weights, trunk: str) -> None:
    """A tensor of the trunk left over means a model that is not what its config says."""
    heads = ("pooler.", "cls.", "lm_head.", "vocab_", "classifier.", "pre_classifier.")
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


def _bert_head(graph: OnnxWriter, encoder: Encoder, weights: Weights, trunk: str, first: str) -> str:
    pooled = graph.tanh(_linear(graph, weights, f"{trunk}pooler.dense", encoder.hidden, encoder.hidden, first))
    return _linear(graph, weights, "classifier", encoder.hidden, _labels(encoder), pooled)


def _roberta_head(graph: OnnxWriter, encoder: Encoder, weights: Weights, _: str, first: str) -> str:
    pooled = graph.tanh(_linear(graph, weights, "classifier.dense", encoder.hidden, encoder.hidden, first))
    return _linear(graph, weights, "classifier.out_proj", encoder.hidden, _labels(encoder), pooled)


def _distilbert_head(graph: OnnxWriter, encoder: Encoder, weights: Weights, _: str, first: str) -> str:
    pooled = graph.relu(_linear(graph, weights, "pre_classifier", encoder.hidden, encoder.hidden, first))
    return _linear(graph, weights, "classifier", encoder.hidden, _labels(encoder), pooled)


def _labels(encoder: Encoder) -> int:
    assert encoder.labels is not None
    return encoder.labels


_TRUNKS: dict[Family, Callable[[OnnxWriter, Encoder, Weights, str], str]] = {
    "bert": _bert_trunk,
    "roberta": _bert_trunk,
    "distilbert": _distilbert_trunk,
}
_HEADS: dict[Family, Callable[[OnnxWriter, Encoder, Weights, str, str], str]] = {
    "bert": _bert_head,
    "roberta": _roberta_head,
    "distilbert": _distilbert_head,
}
