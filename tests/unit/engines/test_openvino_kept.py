"""Compiled models on disk: the next start reads what this one made, and nothing else."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import openvino
import pytest
from structlog.testing import capture_logs

from checkpoints import make_checkpoint
from ullage.engines import openvino_kept
from ullage.engines.base import Batch, Row
from ullage.engines.openvino_cpu import OpenVinoEngine
from ullage.models.export_onnx import export

BATCH = Batch.lay([Row(np.arange(4, 4 + length).astype(np.int32)) for length in (3, 20, 17)])


@pytest.fixture
def model(tmp_path) -> Path:
    return export(make_checkpoint(tmp_path / "checkpoint", "bert"), tmp_path, "int8-weights")


@pytest.fixture
def compilations(monkeypatch) -> list[object]:
    """What was compiled rather than read."""
    counted: list[object] = []
    whole = OpenVinoEngine._read_and_compile

    def count(engine: OpenVinoEngine, *arguments: Any) -> Any:
        counted.append(engine)
        return whole(engine, *arguments)

    monkeypatch.setattr(OpenVinoEngine, "_read_and_compile", count)
    return counted


def started(model: Path | bytes, cache: Path | None, **options: Any) -> np.ndarray:
    """What an engine of a new start computes."""
    asked: dict[str, Any] = {
        "pooling": "mean", "normalize": False, "token_vectors": False, "precision": "int8", "max_sequence": 64,
        "max_batch_tokens": 256, "threads": 1, "group": 32,
    }
    engine = OpenVinoEngine(model, cache_dir=cache, **(asked | options))
    engine.load()
    try:
        return engine.run(BATCH).rows
    finally:
        engine.close()


def single_file(model: Path) -> bytes:
    """A graph with its weights inside."""
    return bytes(onnx.load(model).SerializeToString())


def kept(cache: Path) -> list[Path]:
    return sorted((cache / "compiled").glob("*"))


def test_a_second_start_reads_and_computes_the_same(model, tmp_path, compilations):
    first = started(model, tmp_path)
    second = started(model, tmp_path)
    assert len(compilations) == 1
    assert (first == second).all()
    assert len(kept(tmp_path)) == 1  # and no scratch


@pytest.mark.parametrize("options", [{"threads": 2}, {"precision": "fp32", "group": 0}, {"group": 64}])
def test_other_settings_have_a_file_of_their_own(model, tmp_path, compilations, options):
    started(model, tmp_path)
    started(model, tmp_path, **options)
    assert len(compilations) == len(kept(tmp_path)) == 2


def test_another_model_at_the_same_place_is_compiled(tmp_path, compilations):
    found = []
    for seed in (1, 2):
        made = export(make_checkpoint(tmp_path / f"checkpoint{seed}", "bert", seed=seed), tmp_path, "int8-weights")
        place = tmp_path / "model.onnx"
        place.write_bytes(single_file(made))
        found.append(started(place, tmp_path))
    assert len(compilations) == 2
    assert not np.allclose(*found)


def test_another_release_compiles_anew(model, tmp_path, compilations, monkeypatch):
    started(model, tmp_path)
    monkeypatch.setattr(openvino, "get_version", lambda: "another")
    started(model, tmp_path)
    assert len(compilations) == 2


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "foreign"])
def test_a_file_that_is_not_whole_is_made_anew(model, tmp_path, compilations, harm):
    whole = started(model, tmp_path)
    (file,) = kept(tmp_path)
    good = file.read_bytes()
    flipped = good[:-9] + bytes([good[-9] ^ 1]) + good[-8:]
    file.write_bytes({"cut": good[: len(good) // 2], "flipped": flipped, "empty": b"", "foreign": b"a" * 99}[harm])
    again = started(model, tmp_path)
    assert len(compilations) == 2
    assert (whole == again).all()
    started(model, tmp_path)
    assert len(compilations) == 2


def test_what_openvino_refuses_is_made_anew(model, tmp_path, compilations):
    whole = started(model, tmp_path)
    (file,) = kept(tmp_path)
    blob = b"not what OpenVINO exports"
    file.write_bytes(hashlib.sha256(blob).digest() + blob)
    with capture_logs() as logs:
        again = started(model, tmp_path)
    assert len(compilations) == 2
    assert (whole == again).all()
    assert "a compiled model is refused: it is made anew" in [entry["event"] for entry in logs]


def test_a_folder_that_cannot_be_written_costs_only_time(model, tmp_path, compilations):
    (tmp_path / "compiled").write_text("a file where the folder should be")
    with capture_logs() as logs:
        started(model, tmp_path)
        started(model, tmp_path)
    assert len(compilations) == 2
    assert [entry["event"] for entry in logs].count("a compiled model is not kept") == 2


def test_graphs_with_weights_elsewhere_large_ones_and_bytes_are_not_kept(model, tmp_path, monkeypatch):
    core = openvino.Core()
    assert openvino_kept.kept_file(tmp_path, model, core, {}) is not None
    alone = tmp_path / "alone.onnx"
    alone.write_bytes(b"a graph with its weights")
    assert openvino_kept.kept_file(tmp_path, alone, core, {}) is not None
    alone.write_bytes(b"a graph\x08location\x12\x0cweights.data")
    assert openvino_kept.kept_file(tmp_path, alone, core, {}) is None
    monkeypatch.setattr(openvino_kept, "LARGEST_BYTES", 100)
    assert openvino_kept.kept_file(tmp_path, model, core, {}) is None
    started(single_file(model), tmp_path)
    assert not (tmp_path / "compiled").exists()


def test_only_the_last_ones_stay(model, tmp_path, monkeypatch):
    monkeypatch.setattr(openvino_kept, "FILES", 2)
    started(model, tmp_path)
    (first,) = kept(tmp_path)
    os.utime(first, (1, 1))
    started(model, tmp_path, threads=2)
    (second,) = [file for file in kept(tmp_path) if file != first]
    os.utime(second, (2, 2))
    started(model, tmp_path)  # reads the first, which is young again
    started(model, tmp_path, threads=3)
    assert first in kept(tmp_path)
    assert second not in kept(tmp_path)
    assert len(kept(tmp_path)) == 2
