"""What config.json says of an encoder, family by family.

Every value the numbers depend on is asserted here: a checkpoint is served right or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ullage.errors import ModelCorrupt, ModelUnsupported
from ullage.models.card import Family, Rope, Shape
from ullage.models.checkpoint import Config

ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
"""Published name -> the `approximate` attribute of ONNX Gelu."""

FAMILIES: dict[str, Family] = {
    "bert": "bert",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
    "camembert": "roberta",
    "distilbert": "distilbert",
    "modernbert": "modernbert",
    "llama_bidirec": "llama-bidirectional",
}
"""model_type of config.json -> family."""

CLASS_NAMES: dict[str, str] = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
    "distilbert": "DistilBert",
    "modernbert": "ModernBert",
    "llama_bidirec": "LlamaBidirectional",
}

EXPORTED: tuple[Family, ...] = ("bert", "roberta", "distilbert", "modernbert")
"""Families that we write as an ONNX graph ourselves."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """The shape of one encoder, as config.json states it. `labels` is None without a classification head.

    Row `first_position` of the position table belongs to the first token. `pooling` is what stands before the head (or,
    for the Llama family, before an embedding too). `full_layers` tells for each layer whether it attends to all tokens
    or to the window of `rope`.
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
    kv_heads: int = 0
    head_dim: int = 0
    pooling: Literal["mean", "cls", "none"] = "none"
    temperature: float = 1.0
    rope: Rope | None = None
    full_layers: tuple[bool, ...] = ()
    head_activation: str = "gelu"

    @property
    def first_position(self) -> int:
        return self.padding_id + 1 if self.family == "roberta" else 0

    @property
    def max_sequence(self) -> int:
        return self.positions - self.first_position

    @property
    def shape(self) -> Shape:
        return Shape(
            hidden=self.hidden,
            layers=self.layers,
            heads=self.heads,
            kv_heads=self.kv_heads or self.heads,
            head_dim=self.head_dim or self.hidden // self.heads,
            ffn=self.ffn,
            vocab=self.vocab,
            positions=self.positions,
        )


def read_encoder(config: Config) -> Encoder:
    """Raises ModelUnsupported or ModelCorrupt naming the value that stands in the way."""
    kind = config.model_type
    if kind not in FAMILIES:
        raise ModelUnsupported(f"{config.path} has model_type={kind!r}: served are {', '.join(FAMILIES)}")
    name = CLASS_NAMES[kind]
    served = [f"{name}Model", f"{name}ForMaskedLM", f"{name}ForSequenceClassification"]
    if FAMILIES[kind] == "llama-bidirectional":
        served.remove(f"{name}ForMaskedLM")
    if config.architecture not in served:
        raise ModelUnsupported(f"{config.path} has architecture {config.architecture!r}: "
                               f"served are {', '.join(served)}")
    read = {"modernbert": _modernbert, "llama-bidirectional": _llama}.get(FAMILIES[kind], _post_norm)
    encoder = read(config)
    if encoder.hidden % encoder.heads and not encoder.head_dim:
        raise ModelUnsupported(f"{config.path} has hidden size {encoder.hidden}, not a multiple of "
                               f"{encoder.heads} heads")
    return encoder


def _labels(config: Config) -> int | None:
    return config.labels if config.architecture.endswith("ForSequenceClassification") else None


def _post_norm(config: Config) -> Encoder:
    """BERT, RoBERTa, XLM-R and DistilBERT."""
    config.one_of("position_embedding_type", ("absolute",), "absolute")
    config.one_of("is_decoder", (False,), False)
    config.one_of("is_encoder_decoder", (False,), False)
    config.one_of("add_cross_attention", (False,), False)
    config.one_of("pruned_heads", ({},), {})
    family = FAMILIES[config.model_type]
    distil = family == "distilbert"
    return Encoder(
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
        labels=_labels(config),
    )


def _modernbert(config: Config) -> Encoder:
    for name in ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias"):
        config.one_of(name, (False,), False)
    layers = config.integer("num_hidden_layers")
    thetas = {kind: _theta(config, kind, older, default) for kind, older, default in (
        ("full_attention", "global_rope_theta", 160_000.0), ("sliding_attention", "local_rope_theta", 10_000.0),
    )}
    kinds = _layer_kinds(config, layers)
    window = config.integer("local_attention") if "sliding_attention" in kinds else 0
    return Encoder(
        family="modernbert",
        hidden=config.integer("hidden_size"),
        layers=layers,
        heads=config.integer("num_attention_heads"),
        ffn=config.integer("intermediate_size"),
        vocab=config.integer("vocab_size"),
        positions=config.integer("max_position_embeddings"),
        token_types=0,
        norm_epsilon=config.number("norm_eps", 1e-5),
        activation=config.one_of("hidden_activation", tuple(ACTIVATIONS), "gelu"),
        padding_id=0,
        labels=_labels(config),
        pooling=config.one_of("classifier_pooling", ("cls", "mean"), "cls"),
        rope=Rope(theta=thetas["full_attention"], local_theta=thetas["sliding_attention"], window=window,
                  global_every=_every(kinds)),
        full_layers=tuple(kind == "full_attention" for kind in kinds),
        head_activation=config.one_of("classifier_activation", tuple(ACTIVATIONS), "gelu"),
    )


def _layer_kinds(config: Config, layers: int) -> tuple[str, ...]:
    kinds = config.names("layer_types")
    if kinds is None:
        every = int(config.number("global_attn_every_n_layers", 3))
        if every < 1:
            raise ModelCorrupt(f"{config.path} has global_attn_every_n_layers={every}: at least 1 is wanted")
        return tuple("sliding_attention" if index % every else "full_attention" for index in range(layers))
    if len(kinds) != layers or set(kinds) - {"full_attention", "sliding_attention"}:
        raise ModelCorrupt(f"{config.path} has layer_types={list(kinds)}: one of full_attention and "
                           f"sliding_attention is wanted for each of {layers} layers")
    return kinds


def _every(kinds: tuple[str, ...]) -> int | None:
    """The step between layers that attend to everything; None where it is irregular."""
    full = [index for index, kind in enumerate(kinds) if kind == "full_attention"]
    step = full[1] - full[0] if len(full) > 1 else len(kinds)
    return step if full == list(range(0, len(kinds), step)) else None


def _theta(config: Config, kind: str, older: str, default: float) -> float:
    found = config.section("rope_parameters").get(kind) or {}
    _assert_rope_type(config, found, ("default",))
    if config.section("rope_scaling"):
        raise ModelUnsupported(f"{config.path} has rope_scaling: ModernBERT is served without it")
    return _number(config, found, "rope_theta", config.number(older, default))


def _llama(config: Config) -> Encoder:
    """The published checkpoints of a Llama whose tokens all see each other."""
    config.one_of("hidden_act", ("silu",), "silu")
    for name in ("attention_bias", "mlp_bias", "is_causal"):
        config.one_of(name, (False,), False)
    config.one_of("pretraining_tp", (1,), 1)
    config.one_of("pooling", ("avg", "mean"), "avg")
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    temperature = config.number("temperature", 1.0)
    if temperature <= 0:
        raise ModelCorrupt(f"{config.path} has temperature={temperature:g}: more than 0 is wanted")
    return Encoder(
        family="llama-bidirectional",
        hidden=hidden,
        layers=config.integer("num_hidden_layers"),
        heads=heads,
        ffn=config.integer("intermediate_size"),
        vocab=config.integer("vocab_size"),
        positions=config.integer("max_position_embeddings"),
        token_types=0,
        norm_epsilon=config.number("rms_norm_eps", 1e-6),
        activation="silu",
        padding_id=0,
        labels=_labels(config),
        kv_heads=_optional(config, "num_key_value_heads", heads),
        head_dim=_optional(config, "head_dim", hidden // heads),
        pooling="mean",
        temperature=temperature,
        rope=_llama_rope(config),
    )


def _llama_rope(config: Config) -> Rope:
    found = config.section("rope_parameters") or config.section("rope_scaling")
    theta = _number(config, found, "rope_theta", config.number("rope_theta", 10_000.0))
    outside = config.number("rope_theta", theta)
    if theta != outside:
        raise ModelUnsupported(f"{config.path} has rope_theta={outside:g}, and {theta:g} among its rotary positions: "
                               "one of them is wrong")
    kind = _assert_rope_type(config, found, ("default", "llama3"))
    if kind == "default":
        return Rope(theta=theta)
    return Rope(
        theta=theta,
        factor=_number(config, found, "factor"),
        low=_number(config, found, "low_freq_factor"),
        high=_number(config, found, "high_freq_factor"),
        original=int(_number(config, found, "original_max_position_embeddings")),
    )


def _assert_rope_type(config: Config, found: dict[str, Any], served: tuple[str, ...]) -> str:
    kind = str(found.get("rope_type") or found.get("type") or "default")
    if kind not in served:
        raise ModelUnsupported(f"{config.path} has rope_type={kind!r}: served is {', '.join(served)}")
    return kind


def _number(config: Config, found: dict[str, Any], name: str, default: float | None = None) -> float:
    value = found.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or value <= 0:
        raise ModelCorrupt(f"{config.path} has {name}={value!r} in its rotary positions: a number above 0 is wanted")
    return float(value)


def _optional(config: Config, name: str, default: int) -> int:
    return default if config.is_absent(name) else config.integer(name)
