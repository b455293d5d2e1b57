"""A card for a checkpoint folder as a model hub publishes it. Only data is read; what comes with code is refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tokenizers

from ullage.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from ullage.models.card import Card, LocalFile, ModelFile, Precision, Role, known_cards
from ullage.models.checkpoint import WEIGHTS, Config, Weights, read_json, weight_files
from ullage.models.encoder_config import EXPORTED, FAMILIES, Encoder, read_encoder
from ullage.models.files import sha256_once

ONNX_PLACES = ("onnx/model.onnx", "model.onnx")
QUANTISED = {"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat", "QLinearMatMul"}
PADDED_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Model types whose position table begins with the rows of padding."""

LLAMA_TEMPLATE = "question:{query} \n \n passage:{passage}"
LLAMA_PREFIXES = ("query: ", "passage: ")
"""What every published model of the bidirectional Llama family was trained with; no file of theirs says it."""


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
        raise ModelUnsupported(f"{path}: a folder can hold a ranking or an embedding model; an LLM is given as a name "
                               "or as the path of a GGUF file")
    config = Config(folder / "config.json")
    weights = _weights(folder, config)
    ready = weights[0].suffix == ".onnx"
    encoder = _encoder_of_graph(config) if ready else read_encoder(config)
    _assert_role(config, encoder, role)
    tokenizer = _tokenizer(folder, encoder)
    known = None if ready else _known(folder, config, encoder, role)
    pooling = _pooling(folder, encoder, role, known)
    prefixes = _prefixes(folder, encoder, known) if role == "embedding" else ("", "")
    exported = ready or encoder.family in EXPORTED
    limit = min(_max_sequence(folder, encoder), known.max_sequence if known else encoder.max_sequence)
    return Card(
        name=folder.name,
        aliases=tuple(dict.fromkeys((str(path), str(folder)))),
        role=role,
        kind="cross-encoder" if role == "ranking" else "embedder",
        family=encoder.family,
        backends=("onnx",) if ready else ("onnx", "packed") if exported else ("packed",),
        precision=_precision(weights),
        description=f"{config.architecture} read from {folder}" + (f", known as {known.name}." if known else "."),
        licence=known.licence if known else "as stated by whoever published the folder",
        shape=encoder.shape,
        max_sequence=limit,
        rope=encoder.rope,
        norm_epsilon=encoder.norm_epsilon or None,
        pooling=pooling.kind,
        normalize=pooling.normalize,
        dimensions=known.dimensions if known else (),
        query_prefix=prefixes[0],
        passage_prefix=prefixes[1],
        template=_template(encoder, role, known),
        temperature=encoder.temperature,
        activation=_activation(config, known),
        files=(*(_file("weights", part) for part in weights), _file("tokenizer", tokenizer)),
    )


def _known(folder: Path, config: Config, encoder: Encoder, role: Role) -> Card | None:
    """The bundled card of the model in a folder, whose template and prefixes no file of the folder says.

    Role, family and the whole shape must agree. Many BERT models share a shape, so there the folder's name, or the one
    written in its config, must be the card's too; a bidirectional Llama is told by its shape alone.
    """
    called = {folder.name.casefold(), Path(config.text("_name_or_path")).name.casefold()} - {""}
    for card in known_cards():
        if card.files or card.not_servable or (card.role, card.family) != (role, encoder.family):
            continue
        alike = card.shape == encoder.shape
        named = any(name.rpartition("/")[2].casefold() in called for name in card.names)
        if alike and (named or encoder.family == "llama-bidirectional"):
            return card
    return None


def _template(encoder: Encoder, role: Role, known: Card | None) -> str:
    if known is not None:
        return known.template
    joined = encoder.family == "llama-bidirectional" and role == "ranking"
    return LLAMA_TEMPLATE if joined else "{passage}"


def _activation(config: Config, known: Card | None) -> Literal["identity", "sigmoid"]:
    """What sentence-transformers applies to a logit: the config's, else the card's, else its default, none with us."""
    said = str(config.section("sentence_transformers").get("activation_fn")
               or config.text("sbert_ce_default_activation_function"))
    if said:
        return "sigmoid" if said.endswith("Sigmoid") else "identity"
    return known.activation if known else "identity"


def _assert_role(config: Config, encoder: Encoder, role: Role) -> None:
    if role == "ranking" and encoder.labels is None:
        raise ModelUnsupported(f"{config.path} is {config.architecture}, an encoder without a head: a ranking model "
                               "is a ForSequenceClassification with one label")
    if role == "ranking" and encoder.labels != 1:
        raise ModelUnsupported(f"{config.path} has {encoder.labels} labels: a ranking model has one")
    if role == "embedding" and encoder.labels is not None:
        raise ModelUnsupported(f"{config.path} is {config.architecture}: an embedding model has no classification head")


def _file(role: Literal["weights", "tokenizer"], path: Path) -> ModelFile:
    return ModelFile(role=role, sha256=sha256_once(path), size=path.stat().st_size, source=LocalFile(path=str(path)))


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


def _weights(folder: Path, config: Config) -> tuple[Path, ...]:
    """Safetensors of an architecture we read ourselves, else a ready graph."""
    graphs = [folder / place for place in ONNX_PLACES if (folder / place).is_file()]
    known = config.model_type in FAMILIES
    parts = () if graphs and not known else weight_files(folder)
    if graphs and not parts:
        return (graphs[0],)
    if parts:
        with Weights(*parts):
            return parts
    if list(folder.glob("*.bin")) or list(folder.glob("*.pt")):
        raise ModelUnsupported(f"{folder} holds its weights as a pickle only, which can run code: convert them to "
                               f"{WEIGHTS}")
    raise ModelNotFound(f"{folder} has no {WEIGHTS} and no {' or '.join(ONNX_PLACES)}")


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


def _precision(weights: tuple[Path, ...]) -> Precision:
    """As the weights are stored; of a graph, int8 where it quantises activations, so that rows of one run would see
    each other."""
    if weights[0].suffix != ".onnx":
        with Weights(*weights) as opened:
            return opened.precision
    return _graph_precision(weights[0])


def _graph_precision(weights: Path) -> Literal["fp32", "int8"]:
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


def _pooling(folder: Path, encoder: Encoder, role: Role, known: Card | None) -> _Pooling:
    """Before a head: what the config says. Of an embedding: what the files say, then the card, then the mean."""
    if role == "ranking":
        return _Pooling(encoder.pooling, False)
    stated = (folder / "modules.json").is_file() or (folder / "1_Pooling").is_dir()
    if known is not None and not stated:
        return _Pooling(known.pooling, known.normalize)
    found = _read_pooling(folder)
    if encoder.family == "llama-bidirectional" and found.kind != "mean":
        raise ModelUnsupported(f"{folder} pools by {found.kind}: a bidirectional Llama is served with the mean")
    return found


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


def _prefixes(folder: Path, encoder: Encoder, known: Card | None) -> tuple[str, str]:
    """(query, passage): prompts of config_sentence_transformers.json, then the card's, then the family's."""
    path = folder / "config_sentence_transformers.json"
    prompts = _object(path).get("prompts") if path.is_file() else None
    if isinstance(prompts, dict):
        query = str(prompts.get("query") or "")
        passage = str(prompts.get("document") or prompts.get("passage") or "")
        if query or passage:
            return query, passage
    if known is not None:
        return known.query_prefix, known.passage_prefix
    return LLAMA_PREFIXES if encoder.family == "llama-bidirectional" else ("", "")


def _object(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise ModelCorrupt(f"{path} holds no object")
    return found
