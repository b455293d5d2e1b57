"""ModernBERT's graph against transformers in fp32: lengths within, at and beyond the window of attention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import reference
from families import build_modernbert, make_llama, make_modernbert
from ullage.engines.base import Batch, Row
from ullage.engines.onnx_cpu import OnnxCpuEngine, Pooling
from ullage.errors import ModelUnsupported
from ullage.models.checkpoint import Config
from ullage.models.encoder_config import read_encoder
from ullage.models.export_onnx import export

TOLERANCE = 1e-4
LENGTHS = (1, 2, 4, 5, 6, 8, 9, 10, 17, 40, 64)


def opened(model: Path, pooling: Pooling = "none") -> OnnxCpuEngine:
    engine = OnnxCpuEngine(model, pooling=pooling, normalize=False, token_vectors=False, precision="fp32",
                           max_sequence=64, max_batch_tokens=256, threads=1)
    engine.load()
    return engine


def compare(folder: Path, cache: Path, model: Any, labels: int | None) -> None:
    rng = np.random.default_rng(3)
    rows = [Row(rng.integers(4, model.config.vocab_size, n).astype(np.int32)) for n in LENGTHS]
    wanted = []
    for row in rows:
        found = reference(model, row.input_ids.tolist())
        wanted.append(found["last_hidden_state"].mean(axis=0) if labels is None else found["logits"])
    engine = opened(export(folder, cache), "mean" if labels is None else "none")
    np.testing.assert_allclose([engine.run(Batch.lay([row])).rows[0] for row in rows], wanted, atol=TOLERANCE)
    np.testing.assert_allclose(engine.run(Batch.lay(rows)).rows, wanted, atol=TOLERANCE)
    assert np.ptp(np.asarray(wanted), axis=0).min() > 0.05, "the reference does not tell rows apart"


@pytest.mark.parametrize("labels", [1, 3, None])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_equals_transformers_alone_and_in_packs(tmp_path: Path, labels: int | None, pooling: str) -> None:
    folder = make_modernbert(tmp_path / "model", labels=labels, seed=4, classifier_pooling=pooling)
    model = build_modernbert(labels=labels, seed=4, classifier_pooling=pooling)
    compare(folder, tmp_path / "cache", model, labels)


@pytest.mark.parametrize("config", [
    {"layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention", "full_attention"]},
    {"layer_types": ["full_attention"] * 5},
    {"layer_types": ["sliding_attention"] * 5, "local_attention": 4},
    {"global_attn_every_n_layers": 2, "local_attention": 16},
    {"hidden_activation": "gelu_new", "classifier_activation": "gelu_pytorch_tanh", "norm_eps": 1e-3},
    {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 700.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 30.0}}},
])
def test_every_choice_of_the_config_counts(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = make_modernbert(tmp_path / "model", labels=1, **config)
    compare(folder, tmp_path / "cache", build_modernbert(labels=1, **config), 1)


def test_the_older_form_of_the_config_means_the_same(tmp_path: Path) -> None:
    """As transformers 4 wrote it, and as the published rerankers have it."""
    folder = make_modernbert(tmp_path / "model", labels=1)
    path = folder / "config.json"
    values = json.loads(path.read_text())
    for name in ("rope_parameters", "layer_types"):
        del values[name]
    older = {"global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "global_attn_every_n_layers": 3}
    path.write_text(json.dumps(values | older))
    compare(folder, tmp_path / "cache", build_modernbert(labels=1), 1)


def test_a_masked_language_model_is_its_trunk(tmp_path: Path) -> None:
    """Names under `model.`, and a head that nobody needs."""
    import transformers
    from safetensors.torch import save_file

    folder = make_modernbert(tmp_path / "model")
    bare = build_modernbert(labels=None)
    masked = transformers.ModernBertForMaskedLM(bare.config)
    masked.model = bare
    tensors = {name: tensor.clone() for name, tensor in masked.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    values = json.loads((folder / "config.json").read_text()) | {"architectures": ["ModernBertForMaskedLM"]}
    (folder / "config.json").write_text(json.dumps(values))
    compare(folder, tmp_path / "cache", bare, None)


@pytest.mark.parametrize(("values", "said"), [
    ({"norm_bias": True}, "norm_bias=True: served is False"),
    ({"attention_bias": True}, "attention_bias=True"),
    ({"mlp_bias": True}, "mlp_bias=True"),
    ({"classifier_bias": True}, "classifier_bias=True"),
    ({"hidden_activation": "silu"}, "hidden_activation='silu'"),
    ({"classifier_pooling": "max"}, "classifier_pooling='max'"),
    ({"rope_scaling": {"rope_type": "yarn"}}, "rope_scaling"),
    ({"rope_parameters": {"full_attention": {"rope_type": "yarn", "rope_theta": 1.0}}}, "rope_type='yarn'"),
])
def test_what_would_give_other_numbers_is_refused_by_name(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    folder = make_modernbert(tmp_path / "model", labels=1)
    config = json.loads((folder / "config.json").read_text()) | values
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelUnsupported, match=said):
        export(folder, tmp_path / "cache")


def test_no_graph_is_made_of_a_llama(tmp_path: Path) -> None:
    folder = make_llama(tmp_path / "model", labels=1)
    with pytest.raises(ModelUnsupported, match="of which no ONNX graph is made: it runs on the packed engine"):
        export(folder, tmp_path / "cache")


def test_the_reading_of_a_config(tmp_path: Path) -> None:
    folder = make_modernbert(tmp_path / "model", labels=1, classifier_pooling="mean")
    encoder = read_encoder(Config(folder / "config.json"))
    assert encoder.full_layers == (True, False, False, True, False)
    assert encoder.pooling == "mean"
    assert encoder.rope is not None
    assert (encoder.rope.theta, encoder.rope.local_theta) == (160000.0, 10000.0)
    assert (encoder.rope.window, encoder.rope.global_every) == (8, 3)
