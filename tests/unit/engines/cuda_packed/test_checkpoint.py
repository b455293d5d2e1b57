"""What a folder may hold wrong, one clear line each; and that whole files, in one or several, give the same numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import torch
from families import make_llama
from packed_models import Made, make
from ullage.engines.base import Batch
from ullage.engines.cuda_packed.checkpoint import Checkpoint
from ullage.engines.cuda_packed.engine import PackedEngine
from ullage.errors import ModelCorrupt, ModelError, ModelNotFound, ModelUnsupported

Load = Callable[..., PackedEngine]
Tensors = dict[str, Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("whole") / "llama", "llama", ranks=True)


@pytest.fixture
def copied(made: Made, tmp_path: Path) -> Made:
    """A copy to spoil; the card stays that of the whole one."""
    folder = tmp_path / "spoiled"
    shutil.copytree(made.folder, folder)
    return Made(folder, made.card, made.reference, made.model)


def rewrite(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path)


def refused(load: Load, made: Made, kind: type[ModelError]) -> str:
    with pytest.raises(kind) as error:
        load(made)
    assert "\n" not in error.value.message
    return error.value.message


def test_a_truncated_file_is_said_with_its_bytes(copied: Made, load: Load) -> None:
    path = copied.folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    said = refused(load, copied, ModelCorrupt)
    assert str(path) in said
    assert f"has {len(whole) - 10} bytes, its header says {len(whole)}" in said


def test_a_file_longer_than_its_header_says(copied: Made, load: Load) -> None:
    path = copied.folder / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"\0" * 4)
    assert "its header says" in refused(load, copied, ModelCorrupt)


@pytest.mark.parametrize("content", [b"", b"\x10", b"\xff" * 8, b"\x08" + b"\0" * 7 + b"not json", b"<html></html>"])
def test_what_is_no_safetensors_file(copied: Made, load: Load, content: bytes) -> None:
    (copied.folder / "model.safetensors").write_bytes(content)
    assert "safetensors file" in refused(load, copied, ModelCorrupt)


def test_no_weights_at_all(copied: Made, load: Load) -> None:
    (copied.folder / "model.safetensors").unlink()
    assert "has no model.safetensors" in refused(load, copied, ModelNotFound)


def test_a_missing_tensor_is_named(copied: Made, load: Load) -> None:
    rewrite(copied.folder, lambda found: {name: t for name, t in found.items() if "layers.1.mlp.up" not in name})
    assert "lacks the tensor model.layers.1.mlp.up_proj.weight" in refused(load, copied, ModelCorrupt)


def test_a_tensor_without_a_place_is_named(copied: Made, load: Load) -> None:
    rewrite(copied.folder, lambda found: found | {"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)})
    said = refused(load, copied, ModelUnsupported)
    assert "holds model.layers.0.self_attn.q_proj.bias, for which this model has no place" in said


def test_a_bias_of_the_head_is_refused_by_name(copied: Made, load: Load) -> None:
    rewrite(copied.folder, lambda found: found | {"score.bias": torch.zeros(1)})
    assert "score.bias" in refused(load, copied, ModelUnsupported)


def test_a_wrong_shape_is_said_beside_the_right_one(copied: Made, load: Load) -> None:
    rewrite(copied.folder, lambda found: found | {"score.weight": torch.zeros(1, 31)})
    assert "score.weight of shape [1, 31], the config says [1, 32]" in refused(load, copied, ModelCorrupt)


def test_a_type_that_is_not_served(copied: Made, load: Load) -> None:
    rewrite(copied.folder, lambda found: found | {"score.weight": torch.zeros(1, 32, dtype=torch.float64)})
    assert "score.weight in F64: served is F32, F16, BF16" in refused(load, copied, ModelUnsupported)


def test_harmless_leftovers_are_passed_over(copied: Made, load: Load, made: Made) -> None:
    leftover = {"lm_head.weight": torch.zeros(2, 2), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    rewrite(copied.folder, lambda found: found | leftover)
    rows = made.rows([7, 30])
    assert (load(copied).run(Batch.lay(rows)).rows == load(made).run(Batch.lay(rows)).rows).all()


def test_numbers_that_are_not_finite_are_an_error_not_a_score(copied: Made, load: Load) -> None:
    from ullage.errors import EngineFailed

    rewrite(copied.folder, lambda found: found | {"score.weight": torch.full((1, 32), float("nan"))})
    engine = load(copied)
    with pytest.raises(EngineFailed, match="not finite"):
        engine.run(Batch.lay(copied.rows([5])))


def test_shards_give_what_one_file_gives(made: Made, load: Load, tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "shards", labels=1, shards=3, max_position_embeddings=1024)
    assert len(list(folder.glob("*.safetensors"))) == 3
    whole = make_llama(tmp_path / "whole", labels=1, max_position_embeddings=1024)
    # The head is drawn anew by each call: give both the same.
    names = {path.name: path for path in folder.glob("*.safetensors")}
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    from safetensors.torch import load_file, save_file

    holder = names[index["weight_map"]["score.weight"]]
    save_file(load_file(holder) | {"score.weight": load_file(whole / "model.safetensors")["score.weight"]}, holder)
    rows = made.rows([3, 64, 200])
    found = [load(Made(each, made.card, made.reference, made.model)).run(Batch.lay(rows)).rows
             for each in (folder, whole)]
    assert (found[0] == found[1]).all()
    assert np.std(found[0]) > 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder, index: index["weight_map"].update({"model.norm.weight": "../elsewhere.safetensors"}),
         "which is not a file beside it"),
        (lambda folder, index: index["weight_map"].update({"model.norm.weight": "absent.safetensors"}),
         "has no absent.safetensors"),
        (lambda folder, index: index["weight_map"].update({"model.more.weight": "model-00001-of-00002.safetensors"}),
         "lacks model.more.weight"),
        (lambda folder, index: index.pop("weight_map"), "has no weight_map"),
        (lambda folder, index: index["weight_map"].pop("model.norm.weight"), "does not place there"),
    ],
)
def test_an_index_that_does_not_match_its_shards(
    tmp_path: Path, spoil: Callable[[Path, dict[str, Any]], object], said: str
) -> None:
    folder = make_llama(tmp_path / "shards", labels=1, shards=2)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    spoil(folder, index)
    path.write_text(json.dumps(index))
    with pytest.raises(ModelCorrupt) as error:
        Checkpoint(folder)
    assert said in error.value.message


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("pooling", "cls", "pooling"),
        ("rope_theta", 10000.0, "rope_theta=10000, and 500000 among"),
        ("rope_scaling", None, "rope"),
        ("temperature", 0.5, "temperature"),
        ("rms_norm_eps", 1e-6, "epsilon"),
        ("hidden_act", "gelu", "hidden_act"),
        ("attention_bias", True, "attention_bias"),
        ("mlp_bias", True, "mlp_bias"),
        ("num_key_value_heads", 4, "kv_heads"),
        ("head_dim", 16, "head_dim"),
        ("id2label", {"0": "a", "1": "b"}, "num_labels=2"),
        ("architectures", ["LlamaForCausalLM"], "LlamaForCausalLM"),
        ("model_type", "mamba", "auto_map"),
    ],
)
def test_a_config_value_that_the_numbers_depend_on_is_refused_by_name(
    copied: Made, load: Load, name: str, value: Any, said: str
) -> None:
    path = copied.folder / "config.json"
    config = json.loads(path.read_text())
    config[name] = value
    path.write_text(json.dumps(config))
    assert said in refused(load, copied, ModelUnsupported)
