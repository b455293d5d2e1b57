"""The CPU engine: on the bundled int8 model, on random checkpoints, and on graphs that no encoder should have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from checkpoints import make_checkpoint
from ullage.engines.base import Batch, Row
from ullage.engines.onnx_cpu import PADDING_LIMIT, OnnxCpuEngine, Pooling
from ullage.errors import EngineFailed, ModelCorrupt, ModelUnsupported, OutOfMemory
from ullage.models.card import find_card
from ullage.models.export_onnx import export
from ullage.models.files import locate

MIB = 1 << 20
HIDDEN = 4
VOCAB = 16


def engine_of(
    model: bytes | Path, *, pooling: Pooling = "mean", normalize: bool = False, token_vectors: bool = False,
    precision: str = "fp32", max_sequence: int = 16, max_batch_tokens: int = 64, arena_bytes: int | None = None,
) -> OnnxCpuEngine:
    return OnnxCpuEngine(
        model, pooling=pooling, normalize=normalize, token_vectors=token_vectors, precision=precision,
        max_sequence=max_sequence, max_batch_tokens=max_batch_tokens, threads=1, arena_bytes=arena_bytes,
    )


def loaded(model: bytes | Path, **options: object) -> OnnxCpuEngine:
    engine = engine_of(model, **options)  # type: ignore[arg-type]
    engine.load()
    return engine


def batch_of(*lengths: int, vocab: int = VOCAB, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch.lay([Row(rng.integers(4, vocab, n).astype(np.int32)) for n in lengths])


def each_alone(batch: Batch) -> list[Batch]:
    return [Batch.lay([Row(batch.input_ids[batch.row(i)], batch.token_types[batch.row(i)])])
            for i in range(batch.rows)]


# The bundled model.


@pytest.fixture(scope="module")
def minilm(model_cache: Path) -> Path:
    return locate(find_card("all-MiniLM-L6-v2", "embedding"), model_cache)["weights"]


def test_a_row_of_the_bundled_model_is_the_same_bits_in_any_batch(minilm: Path) -> None:
    engine = loaded(minilm, precision="int8", token_vectors=True, normalize=True, max_sequence=128)
    batch = batch_of(3, 40, 17, 128, 40, 1, 90, vocab=30_000)
    together = engine.run(batch)
    assert together.tokens is not None
    assert together.tokens.shape == (batch.tokens, 384)
    vectors = together.tokens.copy()  # valid until the next run
    for index, lone in enumerate(each_alone(batch)):
        alone = engine.run(lone)
        np.testing.assert_array_equal(alone.rows[0], together.rows[index])
        np.testing.assert_array_equal(alone.tokens, vectors[batch.row(index)])


def test_the_bundled_model_is_pooled_over_real_tokens(minilm: Path) -> None:
    batch = batch_of(24, 7, vocab=30_000)
    session = ort.InferenceSession(str(minilm), providers=["CPUExecutionProvider"])
    for precision in ("int8", "fp32"):
        found = loaded(minilm, precision=precision, normalize=True, max_sequence=32).run(batch)
        assert found.tokens is None
        for index in range(batch.rows):
            ids = batch.input_ids[batch.row(index)][None].astype(np.int64)
            fed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            vector = session.run(["last_hidden_state"], fed)[0][0].mean(axis=0)
            np.testing.assert_allclose(found.rows[index], vector / np.linalg.norm(vector), atol=1e-5)


# Memory.


@pytest.fixture(scope="module")
def long_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny weights and 2048 positions: scores of one full row are 64 MiB."""
    folder = tmp_path_factory.mktemp("long")
    return export(make_checkpoint(folder / "m", max_position_embeddings=2048), folder)


def test_a_run_over_the_bound_raises_and_the_next_one_works(
    long_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    engine = loaded(long_model, max_sequence=64, arena_bytes=16 * MIB)
    before = engine.run(batch_of(64, 30)).rows
    for _ in range(3):
        with pytest.raises(OutOfMemory, match=r"^1 rows of 2048 tokens do not fit in the arena of 16 MiB$"):
            engine.run(batch_of(2048))
    np.testing.assert_array_equal(engine.run(batch_of(64, 30)).rows, before)
    assert capfd.readouterr().err == "", "the runtime printed what was already raised"


def test_load_takes_the_largest_shape_or_raises(long_model: Path) -> None:
    engine = engine_of(long_model, max_sequence=2048, arena_bytes=16 * MIB)
    with pytest.raises(OutOfMemory, match="rows of 2048 tokens do not fit in the arena of 16 MiB"):
        engine.load()
    with pytest.raises(EngineFailed, match="not loaded"):
        engine.run(batch_of(4))
    packed = engine_of(long_model, max_sequence=512, max_batch_tokens=8 * 512, arena_bytes=24 * MIB)
    with pytest.raises(OutOfMemory, match="8 rows of 512 tokens"):
        packed.load()
    loaded(long_model, precision="int8", max_sequence=512, max_batch_tokens=8 * 512, arena_bytes=24 * MIB)


@pytest.mark.parametrize("bound_bytes", [8 * MIB, 20 * MIB, 44 * MIB])
def test_a_bound_smaller_than_the_weights_is_still_a_bound(minilm: Path, bound_bytes: int) -> None:
    engine = loaded(minilm, precision="int8", arena_bytes=bound_bytes)
    before = engine.run(batch_of(12)).rows
    with pytest.raises(OutOfMemory):
        engine.run(batch_of(512, vocab=30_000))
    np.testing.assert_array_equal(engine.run(batch_of(12)).rows, before)


def test_every_engine_of_a_process_keeps_its_own_bound(long_model: Path) -> None:
    small = loaded(long_model, arena_bytes=16 * MIB)
    large = loaded(long_model, arena_bytes=400 * MIB)
    free = loaded(long_model)
    wide = batch_of(2048)
    for _ in range(2):
        with pytest.raises(OutOfMemory):
            small.run(wide)
        np.testing.assert_array_equal(large.run(wide).rows, free.run(wide).rows)
    large.close()
    with pytest.raises(OutOfMemory):
        small.run(wide)
    np.testing.assert_array_equal(small.run(batch_of(9)).rows, free.run(batch_of(9)).rows)


def test_a_bound_that_held_the_largest_shape_holds_every_mix(minilm: Path) -> None:
    engine = loaded(minilm, precision="int8", max_sequence=256, arena_bytes=128 * MIB)
    lengths = np.random.default_rng(2).integers(1, 257, 24)
    assert engine.run(batch_of(*(int(n) for n in lengths), vocab=30_000)).rows.shape == (24, 384)


def test_close_is_idempotent_and_load_works_again(long_model: Path) -> None:
    engine = loaded(long_model, arena_bytes=16 * MIB)
    before = engine.run(batch_of(5)).rows
    engine.close()
    engine.close()
    with pytest.raises(EngineFailed, match="the engine is not loaded"):
        engine.run(batch_of(5))
    engine.load()
    np.testing.assert_array_equal(engine.run(batch_of(5)).rows, before)


# Rows that run together.


class Recording(OnnxCpuEngine):
    """Notes the shape and the real lengths of every run."""

    def _forward(self, ids, lengths, types=None):  # type: ignore[no-untyped-def]
        self.__dict__.setdefault("runs", []).append((ids.shape, [int(n) for n in lengths]))
        return super()._forward(ids, lengths, types)


@pytest.fixture(scope="module")
def recording(long_model: Path) -> Recording:
    engine = Recording(
        long_model, pooling="mean", normalize=False, token_vectors=True, precision="fp32",
        max_sequence=64, max_batch_tokens=200, threads=1,
    )
    engine.load()
    return engine


def test_load_runs_both_largest_shapes(recording: Recording) -> None:
    runs = recording.__dict__["runs"]
    assert [shape for shape, _ in runs[:2]] == [(3, 64), (4, 50)]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=30), seed=st.integers(0, 99))
def test_groups_bound_padding_and_tokens_and_change_no_row(
    recording: Recording, lengths: list[int], seed: int
) -> None:
    batch = batch_of(*lengths, seed=seed)
    recording.__dict__["runs"].clear()
    together = recording.run(batch)
    runs = recording.__dict__["runs"]
    assert sorted(n for _, group in runs for n in group) == sorted(lengths)
    for (rows, longest), group in runs:
        assert rows * longest <= 200
        assert longest <= min(group) * (1 + PADDING_LIMIT)
    assert together.tokens is not None
    vectors = together.tokens.copy()  # valid until the next run
    for index, lone in enumerate(each_alone(batch)):
        alone = recording.run(lone)
        np.testing.assert_allclose(together.rows[index], alone.rows[0], atol=1e-4)
        np.testing.assert_allclose(vectors[batch.row(index)], alone.tokens, atol=1e-4)


# Graphs made by hand: an embedding table and nothing else.


def table() -> np.ndarray:
    values = np.random.default_rng(1).standard_normal((VOCAB, HIDDEN)).astype(np.float32)
    values[3] = np.inf
    return values


def hand_made(
    inputs: Sequence[str] = ("input_ids", "attention_mask"), output: str = "last_hidden_state", rank: int = 3,
    integer: int = TensorProto.INT64, shape: Sequence[str | int] = ("rows", "tokens"), operator: str = "",
) -> bytes:
    """Token vectors are rows of `table()`; a rank of 2 takes the first token's. `position_ids` are added if asked."""
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["words"])]
    last = "words"
    if "position_ids" in inputs:
        nodes += [helper.make_node("Cast", ["position_ids"], ["cast"], to=TensorProto.FLOAT),
                  helper.make_node("Unsqueeze", ["cast", "two"], ["places"]),
                  helper.make_node("Add", ["words", "places"], ["placed"])]
        last = "placed"
    if operator:
        nodes.append(helper.make_node(operator, [last], ["custom"], domain="somebody.else"))
        last = "custom"
    final = (helper.make_node("Gather", [last, "zero"], [output], axis=1) if rank == 2
             else helper.make_node("Identity", [last], [output]))
    sizes: list[str | int] = ["rows", HIDDEN] if rank == 2 else ["rows", "tokens", HIDDEN]
    graph = helper.make_graph(
        [*nodes, final], "hand-made",
        [helper.make_tensor_value_info(name, integer, list(shape)) for name in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, sizes)],
        [numpy_helper.from_array(table(), "table"), numpy_helper.from_array(np.int64(0), "zero"),
         numpy_helper.from_array(np.asarray([2], np.int64), "two")],
    )
    imports = [helper.make_opsetid("", 17)] + ([helper.make_opsetid("somebody.else", 1)] if operator else [])
    made: bytes = helper.make_model(graph, ir_version=9, opset_imports=imports).SerializeToString()
    return made


IDS = np.asarray([5, 9, 4, 7, 7], np.int32)


def run_ids(engine: OnnxCpuEngine) -> np.ndarray:
    return engine.run(Batch.lay([Row(IDS)])).rows[0]


@pytest.mark.parametrize("output", ["last_hidden_state", "token_embeddings", "the_only_one"])
def test_token_vectors_are_found_and_pooled(output: str) -> None:
    np.testing.assert_allclose(run_ids(loaded(hand_made(output=output))), table()[IDS].mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(run_ids(loaded(hand_made(output=output), pooling="cls")), table()[5])


def test_a_graph_may_pool_itself_or_give_logits() -> None:
    pooled = hand_made(output="sentence_embedding", rank=2)
    np.testing.assert_array_equal(run_ids(loaded(pooled)), table()[5])
    unit = run_ids(loaded(pooled, normalize=True))
    np.testing.assert_allclose(unit, table()[5] / np.linalg.norm(table()[5]), atol=1e-6)
    np.testing.assert_array_equal(run_ids(loaded(hand_made(output="logits", rank=2), pooling="none")), table()[5])


def test_inputs_are_fed_by_name_and_type() -> None:
    names = ["position_ids", "token_type_ids", "attention_mask", "input_ids"]
    found = run_ids(loaded(hand_made(inputs=names, integer=TensorProto.INT32)))
    np.testing.assert_allclose(found, table()[IDS].mean(axis=0) + 2, atol=1e-6)


def test_a_graph_made_for_one_row_runs_row_by_row() -> None:
    engine = loaded(hand_made(shape=(1, "tokens")))
    batch = Batch.lay([Row(IDS), Row(IDS[:2]), Row(IDS[:2])])
    np.testing.assert_allclose(engine.run(batch).rows[1:], [table()[[5, 9]].mean(axis=0)] * 2, atol=1e-6)


@pytest.mark.parametrize(("model", "options", "said"), [
    (hand_made(inputs=("input_ids", "attention_mask", "pixels")), {}, r"takes .*pixels .*an encoder takes integers"),
    (hand_made(inputs=("input_ids",)), {}, "attention_mask must be among the inputs"),
    (hand_made(shape=(1, 128)), {}, "input_ids has a fixed shape"),
    (hand_made(shape=(8, "tokens")), {}, "input_ids has a fixed shape"),
    (hand_made(), {"pooling": "none"}, r"gives last_hidden_state .*logits \[rows, labels\] is wanted"),
    (hand_made(output="logits", rank=2), {"token_vectors": True}, r"last_hidden_state \[rows, tokens, hidden\]"),
    (hand_made(operator="Exfiltrate"), {}, "an operator that ONNX Runtime does not bring: .*Exfiltrate"),
])
def test_a_graph_that_is_no_encoder_is_refused_by_its_names(
    model: bytes, options: dict[str, object], said: str
) -> None:
    with pytest.raises(ModelUnsupported, match=said) as caught:
        loaded(model, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [b"", b"not a model", hand_made()[:200]])
def test_bytes_that_are_no_graph_are_corrupt(model: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model)
    for source in (path, model):
        with pytest.raises(ModelCorrupt, match="is not a readable ONNX model"):
            loaded(source)
    with pytest.raises(ModelCorrupt):
        loaded(tmp_path / "missing.onnx")


@pytest.mark.parametrize("location", ["../secret.bin", "{absolute}", "link.bin"])
def test_weights_outside_the_model_folder_are_not_read(tmp_path: Path, location: str) -> None:
    (tmp_path / "model").mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(table().tobytes())
    (tmp_path / "model" / "link.bin").symlink_to(secret)
    model = onnx.load_from_string(hand_made())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location.format(absolute=secret))
    path = tmp_path / "model" / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelCorrupt, match="External data path"):
        loaded(path)
    tensor.external_data[0].value = "inside.bin"
    (tmp_path / "model" / "inside.bin").write_bytes(table().tobytes())
    path.write_bytes(model.SerializeToString())
    assert np.isfinite(run_ids(loaded(path))).all()


@pytest.mark.parametrize(("bad", "said"), [(3, "a number that is not finite"), (VOCAB, "failed on 1 rows of 1 tokens")])
def test_a_row_that_cannot_be_scored_fails_and_the_next_one_works(bad: int, said: str) -> None:
    engine = loaded(hand_made())
    with pytest.raises(EngineFailed, match=said) as caught:
        engine.run(Batch.lay([Row(np.asarray([bad], np.int32))]))
    assert "\n" not in str(caught.value)
    np.testing.assert_allclose(run_ids(engine), table()[IDS].mean(axis=0), atol=1e-6)
