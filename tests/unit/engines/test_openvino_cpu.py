"""The OpenVINO engine: on random checkpoints in every precision, and beside ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import make_checkpoint
from ullage.engines.base import Batch, Row
from ullage.engines.onnx_cpu import OnnxCpuEngine
from ullage.engines.openvino_cpu import OpenVinoEngine, _compiled
from ullage.errors import EngineFailed, ModelCorrupt, ModelUnsupported, OutOfMemory
from ullage.models.card import find_card
from ullage.models.export_onnx import export
from ullage.models.files import locate

MIB = 1 << 20
VOCAB = 40
WIDE = {"hidden_size": 64, "intermediate_size": 128}
LENGTHS = (3, 40, 17, 64, 40, 1, 33, 40, 41, 64)
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2, "int8": 2e-2}
"""Of a row in a batch beside the row alone. Below fp32 a kernel for another shape may round a number the other way."""


def batch_of(*lengths: int, vocab: int = VOCAB, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch.lay([Row(rng.integers(4, vocab, n).astype(np.int32)) for n in lengths])


def loaded(model: bytes | Path, **options: Any) -> OpenVinoEngine:
    defaults: dict[str, Any] = {
        "pooling": "mean", "normalize": False, "token_vectors": False, "precision": "fp32", "max_sequence": 64,
        "max_batch_tokens": 256, "threads": 1, "group": 64,
    }
    engine = OpenVinoEngine(model, **(defaults | options))
    engine.load()
    return engine


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("wide") / "m", **WIDE)


@pytest.fixture(scope="module")
def graphs(checkpoint: Path) -> dict[str, Path]:
    """The graph that each precision runs."""
    plain = export(checkpoint, checkpoint.parent)
    return {"fp32": plain, "bf16": plain, "int8": export(checkpoint, checkpoint.parent, "int8-weights")}


def engine_in(precision: str, graphs: dict[str, Path], **options: Any) -> OpenVinoEngine:
    try:
        return loaded(graphs[precision], precision=precision, **options)
    except ModelUnsupported as refused:
        assert precision == "bf16"
        pytest.skip(str(refused))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_a_row_scored_in_a_batch_equals_the_row_alone(precision: str, graphs: dict[str, Path]) -> None:
    engine = engine_in(precision, graphs, token_vectors=True)
    batch = batch_of(*LENGTHS)
    together = engine.run(batch)
    assert together.tokens is not None
    vectors = together.tokens.copy()  # valid until the next run
    for index in range(batch.rows):
        alone = engine.run(Batch.lay([Row(batch.input_ids[batch.row(index)])]))
        np.testing.assert_allclose(alone.rows[0], together.rows[index], atol=TOLERANCE[precision])
        np.testing.assert_allclose(alone.tokens, vectors[batch.row(index)], atol=10 * TOLERANCE[precision])


def test_a_row_of_int8_does_not_see_the_others(graphs: dict[str, Path]) -> None:
    """One scale over a whole batch would change with who is in it."""
    engine = engine_in("int8", graphs)
    first, second = batch_of(16, 16, seed=1), batch_of(16, 16, seed=2)
    rows = [Row(first.input_ids[first.row(0)]), Row(second.input_ids[second.row(1)])]
    mixed = engine.run(Batch.lay(rows)).rows
    np.testing.assert_array_equal(mixed[0], engine.run(first).rows[0])
    np.testing.assert_array_equal(mixed[1], engine.run(second).rows[1])


def test_fp32_gives_what_onnxruntime_gives(graphs: dict[str, Path]) -> None:
    other = OnnxCpuEngine(graphs["fp32"], pooling="mean", normalize=True, token_vectors=True, precision="fp32",
                          max_sequence=64, max_batch_tokens=256, threads=1)
    other.load()
    batch = batch_of(*LENGTHS)
    expected, found = other.run(batch), loaded(graphs["fp32"], normalize=True, token_vectors=True).run(batch)
    np.testing.assert_allclose(found.rows, expected.rows, atol=1e-5)
    np.testing.assert_allclose(found.tokens, expected.tokens, atol=1e-4)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_lower_precision_is_near_fp32_and_not_the_same(precision: str, graphs: dict[str, Path]) -> None:
    batch = batch_of(*LENGTHS)
    found = engine_in(precision, graphs, normalize=True).run(batch).rows
    exact = loaded(graphs["fp32"], normalize=True).run(batch).rows
    cosines = np.einsum("ij,ij->i", found, exact)
    assert cosines.min() > 0.995
    assert np.abs(found - exact).max() > 1e-5, "this is fp32"


def test_the_bundled_model_in_int8_is_near_onnxruntime_on_the_same_weights(model_cache: Path) -> None:
    weights = locate(find_card("all-MiniLM-L6-v2", "embedding"), model_cache)["weights"]
    batch = batch_of(24, 7, 100, vocab=30_000)
    shape: dict[str, Any] = {"max_sequence": 128, "max_batch_tokens": 128, "normalize": True, "pooling": "mean"}
    other = OnnxCpuEngine(weights, precision="int8", token_vectors=False, threads=1, **shape)
    other.load()
    found = loaded(weights, precision="int8", group=384, **shape).run(batch).rows
    assert np.einsum("ij,ij->i", found, other.run(batch).rows).min() > 0.99


def test_a_run_over_the_bound_is_refused_before_it_begins_and_the_next_one_works(graphs: dict[str, Path]) -> None:
    costs = {"each": MIB}
    engine = loaded(graphs["fp32"], cost_bytes=lambda rows, length: rows * length * costs["each"],
                    limit_bytes=256 * MIB)
    before = engine.run(batch_of(64, 30)).rows
    costs["each"] = 5 * MIB
    with pytest.raises(OutOfMemory, match=r"^1 rows of 64 tokens do not fit in the 256 MiB planned for them$"):
        engine.run(batch_of(64))
    costs["each"] = MIB
    np.testing.assert_array_equal(engine.run(batch_of(64, 30)).rows, before)
    with pytest.raises(OutOfMemory, match="4 rows of 64 tokens"):
        loaded(graphs["fp32"], cost_bytes=lambda rows, length: rows * length * MIB, limit_bytes=100 * MIB)


def test_a_row_past_the_limit_is_refused_and_the_next_one_works(graphs: dict[str, Path]) -> None:
    engine = loaded(graphs["fp32"])
    before = engine.run(batch_of(9)).rows
    with pytest.raises(EngineFailed, match="takes rows of 64 tokens, not 1 rows of 81 tokens") as caught:
        engine.run(batch_of(81))  # the checkpoint has 80 positions
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(engine.run(batch_of(9)).rows, before)


def test_instances_share_one_compiled_model_and_the_last_one_frees_it(graphs: dict[str, Path]) -> None:
    first, second = (loaded(graphs["fp32"], instances=2) for _ in range(2))
    assert first._shared is second._shared
    expected = first.run(batch_of(9)).rows
    first.close()
    first.close()
    with pytest.raises(EngineFailed, match="the engine is not loaded"):
        first.run(batch_of(9))
    np.testing.assert_array_equal(second.run(batch_of(9)).rows, expected)
    second.close()
    assert not [key for key in _compiled if key[0] == graphs["fp32"] and key[-1] == 2]
    second.load()
    np.testing.assert_array_equal(second.run(batch_of(9)).rows, expected)


@pytest.mark.parametrize("model", [b"", b"not a model"])
def test_bytes_that_are_no_graph_are_corrupt(model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    with pytest.raises(ModelCorrupt, match="is not a readable ONNX model") as caught:
        loaded(path)
    assert "\n" not in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 512), min_size=1, max_size=60))
def test_groups_hold_every_row_once_in_powers_of_two_within_the_envelope(lengths: list[int]) -> None:
    engine = OpenVinoEngine(
        b"", pooling="none", normalize=False, token_vectors=False, precision="int8", max_sequence=512,
        max_batch_tokens=2048, threads=1,
    )
    groups = engine._groups(np.asarray(lengths, np.int32))
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        padded = engine._padded(lengths[group[0]])
        assert len(group).bit_count() == 1
        assert len(group) * padded <= 2048
        for index in group:
            assert lengths[index] <= padded <= max(lengths[index] * 1.25, lengths[index] + 8)


def test_padding_never_passes_the_positions_of_a_model() -> None:
    engine = OpenVinoEngine(
        b"", pooling="none", normalize=False, token_vectors=False, precision="fp32", max_sequence=77,
        max_batch_tokens=77, threads=1,
    )
    assert {engine._padded(length) for length in range(65, 78)} == {77}
