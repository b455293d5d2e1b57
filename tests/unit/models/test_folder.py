"""A card for a folder: what is read from it, and every refusal in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from checkpoints import Family, make_checkpoint, make_sentence_encoder, make_tokenizer
from families import make_llama, make_modernbert
from ullage.errors import ModelCorrupt, ModelError, ModelNotFound, ModelUnsupported
from ullage.models import folder as folder_module
from ullage.models.card import Card, HubRepository, LocalFile, Role, find_card
from ullage.models.files import locate, locate_folder, pull, sha256
from ullage.models.folder import LLAMA_TEMPLATE, card_from_folder


def write(folder: Path, name: str, value: object) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))


def change(folder: Path, name: str, **values: object) -> None:
    write(folder, name, json.loads((folder / name).read_text()) | values)


def graph(*operators: str) -> onnx.ModelProto:
    """A graph that names these operators; it is read, never run."""
    nodes = [helper.make_node(operator, [f"v{i}"], [f"v{i + 1}"]) for i, operator in enumerate(operators)]
    return helper.make_model(helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("v0", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info(f"v{len(nodes)}", TensorProto.FLOAT, ["n"])],
    ))


def test_a_classifier_with_one_label_is_a_cross_encoder(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "my-reranker", labels=1)
    card = card_from_folder(folder, "ranking")
    assert (card.name, card.role, card.kind, card.pooling) == ("my-reranker", "ranking", "cross-encoder", "none")
    assert (card.precision, card.max_sequence, card.normalize) == ("fp32", 64, False)
    assert str(folder) in card.aliases
    assert (card.shape.hidden, card.shape.layers, card.shape.heads, card.shape.head_dim) == (32, 2, 4, 8)
    assert (card.shape.ffn, card.shape.positions) == (48, 80)
    weights = card.file("weights")
    assert weights.source == LocalFile(path=str(folder / "model.safetensors"))
    assert weights.size == (folder / "model.safetensors").stat().st_size
    assert weights.sha256 == sha256(folder / "model.safetensors")


def test_local_files_are_found_where_they_are_and_checked(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", labels=1)
    card = card_from_folder(folder, "ranking")
    wanted = {"weights": folder / "model.safetensors", "tokenizer": folder / "tokenizer.json"}
    assert locate(card, tmp_path / "cache") == wanted
    assert pull(card, tmp_path / "cache") == wanted
    assert not (tmp_path / "cache").exists()
    with (folder / "tokenizer.json").open("a") as stream:
        stream.write(" ")
    with pytest.raises(ModelCorrupt, match="it changed while the service started"):
        locate(card, tmp_path / "cache")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelNotFound, match="is gone"):
        locate(card, tmp_path / "cache")


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("normalize", [True, False])
def test_an_encoder_pools_as_its_files_say(tmp_path: Path, pooling: str, normalize: bool) -> None:
    folder = make_sentence_encoder(tmp_path / "e", pooling=pooling, normalize=normalize)  # type: ignore[arg-type]
    card = card_from_folder(folder, "embedding")
    assert (card.kind, card.pooling, card.normalize) == ("embedder", pooling, normalize)


def test_an_encoder_without_such_files_pools_by_the_mean(tmp_path: Path) -> None:
    card = card_from_folder(make_checkpoint(tmp_path / "e"), "embedding")
    assert (card.pooling, card.normalize, card.query_prefix, card.passage_prefix) == ("mean", True, "", "")


def test_the_newer_form_of_the_pooling_file(tmp_path: Path) -> None:
    folder = make_sentence_encoder(tmp_path / "e")
    write(folder, "1_Pooling/config.json", {"embedding_dimension": 32, "pooling_mode": "cls"})
    assert card_from_folder(folder, "embedding").pooling == "cls"


def test_prompts_become_prefixes(tmp_path: Path) -> None:
    folder = make_sentence_encoder(tmp_path / "e")
    prompts = {"query": "query: ", "document": "passage: "}
    write(folder, "config_sentence_transformers.json", {"prompts": prompts, "default_prompt_name": None})
    card = card_from_folder(folder, "embedding")
    assert (card.query_prefix, card.passage_prefix) == ("query: ", "passage: ")


@pytest.mark.parametrize(("family", "limits", "wanted"), [
    ("bert", {"model_max_length": 1e30}, 80),
    ("roberta", {"model_max_length": 1e30}, 78),
    ("xlm-roberta", {}, 78),
    ("bert", {"model_max_length": 48}, 48),
    ("distilbert", {"model_max_length": 200}, 80),
])
def test_the_length_is_the_least_of_all_limits(
    tmp_path: Path, family: str, limits: dict[str, object], wanted: int
) -> None:
    folder = make_checkpoint(tmp_path / "m", family)  # type: ignore[arg-type]
    write(folder, "tokenizer_config.json", limits)
    assert card_from_folder(folder, "embedding").max_sequence == wanted
    write(folder, "sentence_bert_config.json", {"max_seq_length": 20})
    assert card_from_folder(folder, "embedding").max_sequence == 20


@pytest.mark.parametrize("place", ["model.onnx", "onnx/model.onnx"])
def test_a_ready_graph_serves_where_there_are_no_safetensors(tmp_path: Path, place: str) -> None:
    folder = make_checkpoint(tmp_path / "m", labels=1)
    (folder / "model.safetensors").unlink()
    (folder / "onnx").mkdir()
    onnx.save(graph("Identity"), str(folder / place))
    card = card_from_folder(folder, "ranking")
    assert card.file("weights").source == LocalFile(path=str(folder / place))
    assert card.precision == "fp32"
    onnx.save(graph("Identity", "DynamicQuantizeLinear"), str(folder / place))
    assert card_from_folder(folder, "ranking").precision == "int8"


def test_a_ready_graph_serves_an_architecture_we_do_not_export(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m")
    onnx.save(graph("Identity"), str(folder / "model.onnx"))
    change(folder, "config.json", model_type="mpnet", architectures=["MPNetModel"], pad_token_id=1)
    (folder / "tokenizer_config.json").unlink()
    card = card_from_folder(folder, "embedding")
    assert card.file("weights").source == LocalFile(path=str(folder / "model.onnx"))
    assert card.max_sequence == 78


def refused(folder: Path, role: Role, kind: type[ModelError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        card_from_folder(folder, role)
    assert "\n" not in str(caught.value)


def test_what_is_no_folder(tmp_path: Path) -> None:
    refused(tmp_path / "nothing", "ranking", ModelNotFound, "is not a folder")
    tmp_path.joinpath("empty").mkdir()
    refused(tmp_path / "empty", "ranking", ModelNotFound, r"has no config\.json")


def test_a_model_in_the_wrong_role(tmp_path: Path) -> None:
    encoder = make_checkpoint(tmp_path / "encoder")
    three = make_checkpoint(tmp_path / "three", labels=3)
    one = make_checkpoint(tmp_path / "one", labels=1)
    refused(encoder, "ranking", ModelUnsupported, "BertModel, an encoder without a head")
    refused(three, "ranking", ModelUnsupported, "has 3 labels: a ranking model has one")
    refused(one, "embedding", ModelUnsupported, "an embedding model has no classification head")
    refused(one, "llm", ModelUnsupported, "an LLM is given as a name")


def test_weights_that_can_run_code(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", labels=1)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(folder, "ranking", ModelUnsupported, "as a pickle only, which can run code")
    (folder / "pytorch_model.bin").unlink()
    refused(folder, "ranking", ModelNotFound, r"has no model\.safetensors and no onnx/model\.onnx or model\.onnx")


def test_a_config_that_names_code(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", labels=1)
    change(folder, "config.json", auto_map={"AutoModel": "modeling.Evil"})
    refused(folder, "ranking", ModelUnsupported, "names code to run with the weights")


def test_a_tokenizer_that_is_missing_broken_or_of_another_model(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", labels=1)
    other = make_tokenizer("bert")
    other.add_tokens([f"extra{i}" for i in range(10)])
    other.save(str(folder / "tokenizer.json"))
    refused(folder, "ranking", ModelCorrupt, "the two do not belong together")
    (folder / "tokenizer.json").write_text("{}")
    refused(folder, "ranking", ModelCorrupt, "is not a tokenizer file")
    (folder / "tokenizer.json").unlink()
    refused(folder, "ranking", ModelNotFound, r"has no tokenizer\.json")


def test_shards(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", labels=1)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    write(folder, "model.safetensors.index.json", {"weight_map": parts})
    refused(folder, "ranking", ModelNotFound, "lacks 1 of the weight files .* first model-00002-of-00002")
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"")
    refused(folder, "ranking", ModelCorrupt, r"model-00002-of-00002\.safetensors is not a whole safetensors file")
    for index in ([], {}, {"weight_map": []}, {"weight_map": {}}):
        write(folder, "model.safetensors.index.json", index)
        refused(folder, "ranking", ModelCorrupt, "has no weight_map")
    write(folder, "model.safetensors.index.json", {"weight_map": {"a": "../../etc/passwd"}})
    refused(folder, "ranking", ModelCorrupt, r"names a weight file '\.\./\.\./etc/passwd'")


def test_shards_make_the_same_graph_as_one_file(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    from ullage.models.export_onnx import export

    folder = make_checkpoint(tmp_path / "m", labels=1)
    whole = export(folder, tmp_path / "one")
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    index = {}
    for number in (1, 2, 3):
        part = f"model-{number:05}-of-00003.safetensors"
        save_file({name: tensors[name] for name in names[number - 1 :: 3]}, folder / part)
        index |= dict.fromkeys(names[number - 1 :: 3], part)
    write(folder, "model.safetensors.index.json", {"weight_map": index})
    (folder / "model.safetensors").unlink()
    card = card_from_folder(folder, "ranking")
    assert [file.role for file in card.files] == ["weights", "weights", "weights", "tokenizer"]
    assert card.weights_bytes == sum(file.size for file in card.files[:3])
    assert locate(card, tmp_path)["weights"] == folder / "model-00001-of-00003.safetensors"
    parts = export(folder, tmp_path / "three")
    assert whole.with_name("model.onnx.data").read_bytes() == parts.with_name("model.onnx.data").read_bytes()


@pytest.mark.parametrize("left", [0, 5, 300, -1])
def test_truncated_weights(tmp_path: Path, left: int) -> None:
    folder = make_checkpoint(tmp_path / "m", labels=1)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[:left])
    refused(folder, "ranking", ModelCorrupt, "is not a whole safetensors file")


def test_a_graph_that_is_broken_or_keeps_weights_elsewhere(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", labels=1)
    (folder / "model.safetensors").unlink()
    (folder / "model.onnx").write_bytes(b"not a graph")
    refused(folder, "ranking", ModelCorrupt, "is not a whole ONNX file")
    model = graph("Identity")
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(2000, np.float32), "table"))
    onnx.save(model, str(folder / "model.onnx"), save_as_external_data=True, location="table.bin")
    refused(folder, "ranking", ModelUnsupported, "keeps table in a second file")


@pytest.mark.parametrize(("modules", "said"), [
    ([{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}], "has a module Dense"),
    ({"0": "Transformer"}, "is not a list of modules"),
    (["Transformer"], "is not a list of modules"),
])
def test_modules_we_do_not_have(tmp_path: Path, modules: object, said: str) -> None:
    folder = make_sentence_encoder(tmp_path / "e")
    write(folder, "modules.json", modules)
    refused(folder, "embedding", ModelError, said)


@pytest.mark.parametrize("pooling", [
    {"pooling_mode_max_tokens": True},
    {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
    {"pooling_mode": "lasttoken"},
])
def test_pooling_we_do_not_have(tmp_path: Path, pooling: dict[str, object]) -> None:
    folder = make_sentence_encoder(tmp_path / "e")
    write(folder, "1_Pooling/config.json", pooling)
    refused(folder, "embedding", ModelUnsupported, "served are mean and cls")


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "distilbert"])
@pytest.mark.parametrize("role", ["ranking", "embedding"])
def test_any_standard_checkpoint_loads(tmp_path: Path, family: Family, role: Role) -> None:
    folder = make_checkpoint(tmp_path / "m", family, labels=1 if role == "ranking" else None)
    card = card_from_folder(folder, role)
    assert card.backends == ("onnx", "packed")
    assert card.family == ("roberta" if "roberta" in family else family)
    assert locate_folder(card, tmp_path / "cache") == folder


def test_a_modernbert(tmp_path: Path) -> None:
    card = card_from_folder(make_modernbert(tmp_path / "m", labels=1, classifier_pooling="mean"), "ranking")
    assert (card.family, card.backends, card.pooling) == ("modernbert", ("onnx", "packed"), "mean")
    assert card.rope is not None
    assert (card.rope.window, card.rope.global_every, card.norm_epsilon) == (8, 3, 1e-5)
    bare = card_from_folder(make_modernbert(tmp_path / "e"), "embedding")
    assert (bare.kind, bare.pooling, bare.normalize) == ("embedder", "mean", True)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_bidirectional_llama_reranker(tmp_path: Path, shards: int) -> None:
    folder = make_llama(tmp_path / "m", labels=1, shards=shards, temperature=0.5)
    card = card_from_folder(folder, "ranking")
    assert (card.family, card.kind, card.backends) == ("llama-bidirectional", "cross-encoder", ("packed",))
    assert (card.template, card.pooling, card.temperature) == (LLAMA_TEMPLATE, "mean", 0.5)
    assert (card.precision, card.attention, card.joins_texts) == ("bf16", "bidirectional", True)
    assert (card.shape.kv_heads, card.shape.head_dim, card.shape.positions) == (2, 8, 256)
    assert card.rope is not None
    assert (card.rope.theta, card.rope.factor, card.rope.low, card.rope.high, card.rope.original) == (
        500000.0, 32.0, 1.0, 4.0, 8192)
    header = shards * 4096
    assert 2 * card.parameters.total < card.weights_bytes < 2 * card.parameters.total + header
    assert locate_folder(card, tmp_path) == folder


def test_a_bidirectional_llama_embedder(tmp_path: Path) -> None:
    card = card_from_folder(make_llama(tmp_path / "m"), "embedding")
    assert (card.kind, card.pooling, card.normalize) == ("embedder", "mean", True)
    assert (card.query_prefix, card.passage_prefix, card.template) == ("query: ", "passage: ", "{passage}")


@pytest.mark.parametrize(("values", "said"), [
    ({"pooling": "last"}, "pooling='last': served is avg"),
    ({"is_causal": True}, "is_causal=True"),
    ({"attention_bias": True}, "attention_bias=True"),
    ({"mlp_bias": True}, "mlp_bias=True"),
    ({"hidden_act": "gelu"}, "hidden_act='gelu'"),
    ({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, "rope_type='yarn'"),
    ({"temperature": 0}, "temperature=0: more than 0"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 32.0}}, "low_freq_factor=None in its rotary positions"),
    ({"architectures": ["LlamaForSequenceClassification"]}, "served are LlamaBidirectionalModel, Llama"),
    ({"model_type": "llama"}, "names code to run with the weights"),
    ({"model_type": "llama", "auto_map": None}, "model_type='llama': served are bert"),
])
def test_a_llama_whose_numbers_we_would_get_wrong(tmp_path: Path, values: dict[str, object], said: str) -> None:
    folder = make_llama(tmp_path / "m", labels=1)
    change(folder, "config.json", **values)
    refused(folder, "ranking", ModelError, said)


def known(monkeypatch: pytest.MonkeyPatch, folder: Path, role: Role, like: str, **changes: object) -> Card:
    """A bundled card that has the folder's shape, the only one there is."""
    shape = card_from_folder(folder, role).shape
    card = find_card(like, role).model_copy(update={"shape": shape, "max_sequence": 60} | changes)
    monkeypatch.setattr(folder_module, "known_cards", lambda: (card,))
    return card


def test_a_known_llama_is_told_by_its_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_llama(tmp_path / "renamed", labels=1)
    known(monkeypatch, folder, "ranking", "nvidia/llama-nemotron-rerank-1b-v2", template="q {query} p {passage}")
    card = card_from_folder(folder, "ranking")
    assert (card.template, card.max_sequence) == ("q {query} p {passage}", 60)
    assert "known as nvidia/llama-nemotron-rerank-1b-v2" in card.description
    assert card.licence.startswith("NVIDIA")
    other = make_llama(tmp_path / "other", labels=1, num_hidden_layers=1)
    assert card_from_folder(other, "ranking").template == LLAMA_TEMPLATE


def test_a_known_bert_needs_its_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path / "my-model")
    known(monkeypatch, folder, "embedding", "intfloat/e5-base-v2", pooling="cls")
    assert card_from_folder(folder, "embedding").query_prefix == ""
    named = make_checkpoint(tmp_path / "E5-base-v2")
    card = card_from_folder(named, "embedding")
    assert (card.query_prefix, card.passage_prefix, card.pooling) == ("query: ", "passage: ", "cls")
    change(folder, "config.json", _name_or_path="intfloat/e5-base-v2")
    assert card_from_folder(folder, "embedding").query_prefix == "query: "


def test_what_the_folder_says_itself_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_sentence_encoder(tmp_path / "e5-base-v2", pooling="mean", normalize=False)
    known(monkeypatch, folder, "embedding", "intfloat/e5-base-v2", pooling="cls", normalize=True)
    write(folder, "config_sentence_transformers.json", {"prompts": {"query": "Q ", "document": "P "}})
    card = card_from_folder(folder, "embedding")
    assert (card.pooling, card.normalize, card.query_prefix, card.passage_prefix) == ("mean", False, "Q ", "P ")


@pytest.mark.parametrize(("config", "wanted"), [
    ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Sigmoid"}}, "sigmoid"),
    ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "identity"),
    ({"sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"}, "identity"),
    ({}, "identity"),
])
def test_the_activation_is_the_configs(tmp_path: Path, config: dict[str, object], wanted: str) -> None:
    folder = make_checkpoint(tmp_path / "m", labels=1)
    change(folder, "config.json", **config)
    assert card_from_folder(folder, "ranking").activation == wanted


def test_half_precision_is_told(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = make_checkpoint(tmp_path / "m", labels=1)
    tensors = load_file(folder / "model.safetensors")
    save_file({name: tensor.astype(np.float16) for name, tensor in tensors.items()}, folder / "model.safetensors")
    assert card_from_folder(folder, "ranking").precision == "fp16"


def test_a_card_without_a_checkpoint_folder(model_cache: Path) -> None:
    card = find_card("all-MiniLM-L6-v2", "embedding")
    with pytest.raises(ModelNotFound, match="comes as single files, not as a checkpoint folder: it runs on onnx alone"):
        locate_folder(card, model_cache)


def test_a_card_of_a_hub_that_was_not_pulled(tmp_path: Path) -> None:
    card = find_card("BAAI/bge-reranker-base", "ranking")
    for find in (locate, locate_folder):
        with pytest.raises(ModelNotFound, match="run `ullage models pull BAAI/bge-reranker-base`"):
            find(card, tmp_path)
    pinned = card.model_copy(update={"hub": HubRepository(repo="BAAI/bge-reranker-base", revision="v1")})
    with pytest.raises(ModelNotFound, match="run `ullage models pull BAAI/bge-reranker-base@v1`"):
        locate(pinned, tmp_path)
