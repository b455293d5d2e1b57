"""A card for a checkpoint folder as a model hub publishes it. Only data is read; what comes with code is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tokenizers

from ullage.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from ullage.models.card import Card, LocalFile, ModelFile, Role, Shape
from ullage.models.checkpoint import WEIGHTS, Config, Weights, read_json
from ullage.models.export_onnx import FAMILIES, Encoder, read_encoder
from ullage.models.files import sha256

ONNX_PLACES = ("onnx/model.onnx", "model.onnx")
QUANTISED = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul"}
PADDED_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Model types whose position table begins with the rows of padding."""


def card_from_folder(path: Path, role: Role) -> Card:
    """The card of the checkpoint in `path`: config.json, tokenizer.json and model.safetensors or model.onnx.

    A classifier with one label is a cross-encoder; an encoder without a head is an embedder, pooled as its
    sentence-transformers files say, or by the mean where there are none.
    Raises ModelNotFound, ModelCorrupt or ModelUnsupported, one line each.
    """
    folder = path.absolute()
    if not folder.is_dir():
        raise ModelNotFound(f"{path} is not a folder: a model is given as a name or as a folder with config.json")
    if role == "llm":
        raise ModelUnsupported(f"{path}: a folder can hold a ranking or an embedding model; an LLM is given as a name")
    config = Config(folder / "config.json")
    weights = _weights(folder, config)
    encoder = read_encoder(config) if weights.name == WEIGHTS else _encoder_of_graph(config)
    _assert_role(config, encoder, role)
    tokenizer = _tokenizer(folder, encoder)
    pooling = _read_pooling(folder) if role == "embedding" else _Pooling("none", False)
    prefixes = _prefixes(folder) if role == "embedding" else ("", "")
    return Card(
        name=folder.name,
        aliases=tuple(dict.fromkeys((str(path), str(folder)))),
        role=role,
        kind="cross-encoder" if role == "ranking" else "embedder",
        family=encoder.family,
        backends=("onnx",),
        precision=_precision(weights),
        description=f"{config.architecture} read from {folder}.",
        licence="as stated by whoever published the folder",
        shape=_shape(encoder),
        max_sequence=_max_sequence(folder, encoder),
        pooling=pooling.kind,
        normalize=pooling.normalize,
        query_prefix=prefixes[0],
        passage_prefix=prefixes[1],
        files=(_file("weights", weights), _file("tokenizer", tokenizer)),
    )


def _assert_role(config: Config, encoder: Encoder, role: Role) -> None:
    if role == "ranking" and encoder.labels is None:
        raise ModelUnsupported(f"{config.path} is {config.architecture}, an encoder without a head: a ranking model "
                               "is a ForSequenceClassification with one label")
    if role == "ranking" and encoder.labels != 1:
        raise ModelUnsupported(f"{config.path} has {encoder.labels} labels: a ranking model has one")
    if role == "embedding" and encoder.labels is not None:
        raise ModelUnsupported(f"{config.path} is {config.architecture}: an embedding model has no classification head")


def _shape(encoder: Encoder) -> Shape:
    return Shape(
        hidden=encoder.hidden,
        layers=encoder.layers,
        heads=encoder.heads,
        kv_heads=encoder.heads,
        head_dim=encoder.hidden // encoder.heads,
        ffn=encoder.ffn,
        vocab=encoder.vocab,
        positions=encoder.positions,
    )


def _file(role: Literal["weights", "tokenizer"], path: Path) -> ModelFile:
    return ModelFile(role=role, sha256=sha256(path), size=path.stat().st_size, source=LocalFile(path=str(path)))


def _encoder_of_graph(config: Config) -> Encoder:
    """What a ready graph's config says of its shape; the graph itself decides the numbers."""
    padded = config.model_type in PADDED_POSITIONS
    return Encoder(
        family="roberta" if padded else "bert",
        hidden=config.integer("hidden_size", "dim"),
        layers=config.integer("num_hidden_layers", "n_layers"),
        heads=config.integer("num_attention_heads", "n_heads"),
        ffn=config.integer("intermediate_size", "hidden_dim"),
        vocab=config.integer("vocab_size"),
        positions=config.integer("max_position_embeddings"),
        token_types=0,
        norm_epsilon=0.0,
        activation="",
        padding_id=config.integer("pad_token_id", at_least=0) if padded else 0,
        labels=config.labels if config.architecture.endswith("ForSequenceClassification") else None,
    )


def _weights(folder: Path, config: Config) -> Path:
    """Safetensors of an architecture we export ourselves, else a ready graph."""
    whole = folder / WEIGHTS
    graphs = [folder / place for place in ONNX_PLACES if (folder / place).is_file()]
    if graphs and not (whole.is_file() and config.model_type in FAMILIES):
        return graphs[0]
    if whole.is_file():
        with Weights(whole):
            return whole
    _refuse_shards(folder)
    if list(folder.glob("*.bin")) or list(folder.glob("*.pt")):
        raise ModelUnsupported(f"{folder} holds its weights as a pickle only, which can run code: convert them to "
                               f"{WEIGHTS}")
    raise ModelNotFound(f"{folder} has no {WEIGHTS} and no {' or '.join(ONNX_PLACES)}")


def _refuse_shards(folder: Path) -> None:
    index = folder / f"{WEIGHTS}.index.json"
    if not index.is_file():
        return
    found = read_json(index)
    parts = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(parts, dict):
        raise ModelCorrupt(f"{index} has no weight_map")
    missing = sorted(name for name in set(map(str, parts.values())) if not (folder / name).is_file())
    if missing:
        raise ModelNotFound(f"{folder} lacks {len(missing)} of the weight files its index names, first {missing[0]}")
    raise ModelUnsupported(f"{folder} has its weights in {len(set(parts.values()))} files: save them as one {WEIGHTS}")


def _tokenizer(folder: Path, encoder: Encoder) -> Path:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelNotFound(f"{folder} has no tokenizer.json: save it with a fast tokenizer")
    try:
        vocabulary = tokenizers.Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises bare Exception for any fault of the file
        raise ModelCorrupt(f"{path} is not a tokenizer file: {str(error).splitlines()[0]}") from None
    largest = max(vocabulary.values(), default=0)
    if largest >= encoder.vocab:
        raise ModelCorrupt(f"{path} gives ids up to {largest}, the model has {encoder.vocab}: the two do not belong "
                           "together")
    return path


def _precision(weights: Path) -> Literal["fp32", "int8"]:
    """int8 where the graph quantises activations, so that rows of one run would see each other."""
    if weights.suffix != ".onnx":
        return "fp32"
    import onnx  # costs 11 MiB, and only a folder with a graph needs it

    try:
        graph = onnx.load(str(weights), load_external_data=False).graph
    except Exception as error:  # protobuf's DecodeError; the library is not ours to import
        raise ModelCorrupt(f"{weights} is not a whole ONNX file: {error}") from None
    outside = [tensor.name for tensor in graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise ModelUnsupported(f"{weights} keeps {outside[0]} in a second file: save it with its weights inside, "
                               f"or give {WEIGHTS}")
    return "int8" if any(node.op_type in QUANTISED for node in graph.node) else "fp32"


def _max_sequence(folder: Path, encoder: Encoder) -> int:
    """The least of what the positions, the tokenizer and sentence-transformers allow."""
    limits = [encoder.max_sequence]
    for name, key in (("tokenizer_config.json", "model_max_length"), ("sentence_bert_config.json", "max_seq_length")):
        if (folder / name).is_file():
            value = _object(folder / name).get(key)
            # A tokenizer without a limit is written with 1e30.
            if isinstance(value, int | float) and 1 <= value < 1e9:
                limits.append(int(value))
    return min(limits)


@dataclass(frozen=True, slots=True)
class _Pooling:
    kind: Literal["mean", "cls", "none"]
    normalize: bool


def _read_pooling(folder: Path) -> _Pooling:
    """From modules.json and the pooling module's config; mean and unit length where there is no modules.json."""
    if not (folder / "modules.json").is_file():
        kind = _pooling_kind(folder / "1_Pooling" / "config.json") if (folder / "1_Pooling").is_dir() else "mean"
        return _Pooling(kind, True)
    kind, normalize = "mean", False
    modules = read_json(folder / "modules.json")
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        raise ModelCorrupt(f"{folder / 'modules.json'} is not a list of modules")
    for module in modules:
        name = str(module.get("type", "")).rsplit(".", 1)[-1]
        if name == "Pooling":
            kind = _pooling_kind(folder / str(module.get("path", "")) / "config.json")
        elif name == "Normalize":
            normalize = True
        elif name != "Transformer":
            raise ModelUnsupported(f"{folder / 'modules.json'} has a module {name}: served are Transformer, Pooling "
                                   "and Normalize")
    return _Pooling(kind, normalize)


def _pooling_kind(path: Path) -> Literal["mean", "cls"]:
    found = _object(path)
    modes = sorted(key.removeprefix("pooling_mode_") for key, value in found.items()
                   if key.startswith("pooling_mode_") and value is True)
    if isinstance(found.get("pooling_mode"), str):
        modes = [found["pooling_mode"]]
    if modes in (["mean_tokens"], ["mean"], []):
        return "mean"
    if modes in (["cls_token"], ["cls"]):
        return "cls"
    raise ModelUnsupported(f"{path} pools by {' and '.join(modes)}: served are mean and cls")


def _prefixes(folder: Path) -> tuple[str, str]:
    """(query, passage) prompts of config_sentence_transformers.json."""
    path = folder / "config_sentence_transformers.json"
    prompts = _object(path).get("prompts") if path.is_file() else None
    if not isinstance(prompts, dict):
        return "", ""
    return str(prompts.get("query") or ""), str(prompts.get("document") or prompts.get("passage") or "")


def _object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ModelCorrupt(f"{path} holds no object")
    return found
