"""Our graphs against transformers in fp32, on random checkpoints of every family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from checkpoints import FAMILIES, POSITIONS, Family, build, make_checkpoint, reference
from ullage.engines.base import Batch, Row
from ullage.engines.onnx_cpu import OnnxCpuEngine, Pooling
from ullage.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from ullage.models.export_onnx import export

TOLERANCE = 1e-4


def opened(model: Path, pooling: Pooling = "none", max_sequence: int = 64) -> OnnxCpuEngine:
    engine = OnnxCpuEngine(
        model, pooling=pooling, normalize=False, token_vectors=False, precision="fp32",
        max_sequence=max_sequence, max_batch_tokens=256, threads=1,
    )
    engine.load()
    return engine


def random_row(rng: np.random.Generator, vocab: int, tokens: int, pair: bool) -> Row:
    ids = rng.integers(4, vocab, tokens).astype(np.int32)
    types = np.zeros(tokens, np.int32)
    if pair:
        types[tokens // 2 :] = 1
    return Row(ids, types)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [1, 3, None])
def test_equals_transformers_at_every_length_and_in_packs(tmp_path: Path, family: Family, labels: int | None) -> None:
    folder = make_checkpoint(tmp_path / "model", family, labels=labels, seed=5)
    model = build(family, labels=labels, seed=5)
    rng = np.random.default_rng(11)
    pair = family == "bert"
    rows = [random_row(rng, model.config.vocab_size, n, pair) for n in range(1, 65)]
    wanted = []
    for row in rows:
        types = row.token_types.tolist() if pair and row.token_types is not None else None
        found = reference(model, row.input_ids.tolist(), types)
        wanted.append(found["last_hidden_state"].mean(axis=0) if labels is None else found["logits"])
    engine = opened(export(folder, tmp_path / "cache"), "mean" if labels is None else "none")
    alone = [engine.run(Batch.lay([row])).rows[0] for row in rows]
    np.testing.assert_allclose(alone, wanted, atol=TOLERANCE)
    for _ in range(4):
        chosen = rng.permutation(64)[:20]
        together = engine.run(Batch.lay([rows[i] for i in chosen])).rows
        np.testing.assert_allclose(together, [wanted[i] for i in chosen], atol=TOLERANCE)
    assert np.ptp(np.asarray(wanted), axis=0).min() > 0.05, "the reference does not tell rows apart"


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_pytorch_tanh"])
def test_the_tanh_form_of_gelu(tmp_path: Path, activation: str) -> None:
    folder = make_checkpoint(tmp_path / "model", labels=1, hidden_act=activation)
    ids = list(range(4, 40))
    wanted = reference(build("bert", labels=1, hidden_act=activation), ids)["logits"]
    found = opened(export(folder, tmp_path)).run(Batch.lay([Row(np.asarray(ids, np.int32))])).rows[0]
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE)


def test_a_pad_token_inside_a_text_shifts_no_roberta_position(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", "roberta", labels=1)
    ids = [0, 9, 1, 1, 12, 30, 2]
    wanted = reference(build("roberta", labels=1), ids)["logits"]
    found = opened(export(folder, tmp_path)).run(Batch.lay([Row(np.asarray(ids, np.int32))])).rows[0]
    np.testing.assert_allclose(found, wanted, atol=TOLERANCE)


def test_a_roberta_reads_its_whole_length(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", "xlm-roberta", labels=1)
    ids = np.random.default_rng(1).integers(4, 80, POSITIONS - 2)
    wanted = reference(build("xlm-roberta", labels=1), ids.tolist())["logits"]
    engine = opened(export(folder, tmp_path), max_sequence=POSITIONS - 2)
    np.testing.assert_allclose(engine.run(Batch.lay([Row(ids.astype(np.int32))])).rows[0], wanted, atol=TOLERANCE)


def test_half_precision_weights_and_the_first_names_are_read(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", labels=1)
    stored = load_file(folder / "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"):
           tensor.astype(np.float16) for name, tensor in stored.items()}
    save_file(old, folder / "model.safetensors")
    ids = list(range(4, 50))
    wanted = reference(build("bert", labels=1), ids)["logits"]
    found = opened(export(folder, tmp_path)).run(Batch.lay([Row(np.asarray(ids, np.int32))])).rows[0]
    np.testing.assert_allclose(found, wanted, atol=0.02)
    assert not np.array_equal(found, wanted)


def test_is_written_once_and_the_same_bytes_every_time(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", labels=1)
    first = export(folder, tmp_path / "a")
    written = first.stat().st_mtime_ns
    assert export(folder, tmp_path / "a") == first
    assert first.stat().st_mtime_ns == written
    second = export(folder, tmp_path / "b")
    for name in ("model.onnx", "model.onnx.data"):
        assert first.with_name(name).read_bytes() == second.with_name(name).read_bytes()
    assert [entry.name for entry in first.parent.parent.iterdir()] == [first.parent.name], "no scratch is left"
    assert {node.domain for node in onnx.load(str(first)).graph.node} == {""}


def test_another_config_or_other_weights_make_another_graph(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "model", labels=1)
    first = export(folder, tmp_path / "cache")
    change(folder, layer_norm_eps=1e-5)
    second = export(folder, tmp_path / "cache")
    make_checkpoint(folder, labels=1, seed=9)
    third = export(folder, tmp_path / "cache")
    assert len({first, second, third}) == 3


def change(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(("values", "said"), [
    ({"hidden_act": "silu"}, "hidden_act='silu': served is gelu"),
    ({"position_embedding_type": "relative_key"}, "position_embedding_type='relative_key'"),
    ({"is_decoder": True}, "is_decoder=True"),
    ({"add_cross_attention": True}, "add_cross_attention=True"),
    ({"pruned_heads": {"0": [1]}}, "pruned_heads="),
    ({"model_type": "deberta-v2"}, "model_type='deberta-v2': served are bert"),
    ({"architectures": ["BertForQuestionAnswering"]}, "'BertForQuestionAnswering': served are BertModel"),
    ({"auto_map": {"AutoModel": "evil.Model"}}, "names code to run"),
    ({"num_attention_heads": 5}, "hidden size 32, not a multiple of 5 heads"),
    ({"num_hidden_layers": 1}, r"layer\.1.*, for which a bert of 1 layers has no place"),
])
def test_what_would_give_other_numbers_is_refused_by_name(
    tmp_path: Path, values: dict[str, object], said: str
) -> None:
    folder = make_checkpoint(tmp_path / "model", labels=1)
    change(folder, **values)
    with pytest.raises(ModelUnsupported, match=said):
        export(folder, tmp_path / "cache")
    left = tmp_path / "cache" / "exports"
    assert not left.exists() or not list(left.iterdir())


@pytest.mark.parametrize(("values", "said"), [
    ({"num_hidden_layers": 3}, "holds no tensor bert.encoder.layer.2"),
    ({"intermediate_size": 40}, r"of shape \[48, 32\], the config says \[40, 32\]"),
    ({"vocab_size": "many"}, "vocab_size='many': a whole number of at least 1"),
    ({"layer_norm_eps": "small"}, "layer_norm_eps='small': a number is wanted"),
])
def test_a_config_that_does_not_match_its_weights_is_corrupt(
    tmp_path: Path, values: dict[str, object], said: str
) -> None:
    folder = make_checkpoint(tmp_path / "model", labels=1)
    change(folder, **values)
    with pytest.raises(ModelCorrupt, match=said):
        export(folder, tmp_path / "cache")


def test_no_folder_and_no_json(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"has no config\.json"):
        export(tmp_path / "nothing", tmp_path)
    folder = make_checkpoint(tmp_path / "model", labels=1)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelCorrupt, match="not readable JSON"):
        export(folder, tmp_path)


# int8.


def test_a_matrix_is_quantised_by_columns_within_half_a_step() -> None:
    from ullage.models.onnx_writer import quantised

    weight = np.random.default_rng(0).standard_normal((16, 5)).astype(np.float32) * [1, 10, 0.01, 3, 0]
    small, scale = quantised(weight.astype(np.float32))
    assert small.dtype == np.int8
    assert np.abs(small).max() == 127
    assert (np.abs(small * scale - weight) <= scale * 0.501).all()
    assert not small[:, 4].any()


@pytest.mark.parametrize("form", ["int8-weights", "int8-dynamic"])
def test_int8_graphs_are_smaller_near_fp32_and_kept_apart(form: str, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "m", hidden_size=64, intermediate_size=128)
    plain, small = export(folder, tmp_path), export(folder, tmp_path, form)  # type: ignore[arg-type]
    assert plain != small
    assert export(folder, tmp_path, form) == small  # type: ignore[arg-type]
    rows = [Row(np.random.default_rng(n).integers(4, 40, n).astype(np.int32)) for n in (5, 30, 17)]
    found = {}
    for name, path in (("fp32", plain), ("int8", small)):
        engine = OnnxCpuEngine(path, pooling="mean", normalize=True, token_vectors=False, precision=name,
                               max_sequence=64, max_batch_tokens=64, threads=1)
        engine.load()
        found[name] = engine.run(Batch.lay(rows)).rows
        alone = [engine.run(Batch.lay([row])).rows[0] for row in rows]
        np.testing.assert_allclose(found[name], alone, atol=1e-4)
    assert np.einsum("ij,ij->i", found["fp32"], found["int8"]).min() > 0.995
    assert np.abs(found["fp32"] - found["int8"]).max() > 1e-5
