"""`ullage bench precision`: what people and scripts see."""

from __future__ import annotations

import json

import pytest

from checkpoints import make_checkpoint

PASSAGES = [f"pump {n} is serviced every {n % 7} weeks, {'and more ' * (n % 5)}said" for n in range(12)]


@pytest.fixture
def cases(tmp_path):
    path = tmp_path / "cases.jsonl"
    path.write_text(json.dumps({"query": "which pump is serviced", "passages": PASSAGES}) + "\n")
    return path


def test_a_row_a_precision_beside_fp32(ullage, cases, tmp_path):
    model = make_checkpoint(tmp_path / "model", "bert", labels=1)
    asked = ("bench", "precision", str(cases), "--model", str(model), "--precisions", "fp32,int8")
    exact, lower = ullage(*asked, "--json").json
    assert (exact["precision"], exact["tau"], exact["largest_difference"]) == ("fp32", 1.0, 0.0)
    assert lower["profile"].startswith("cpu-int8-")
    assert lower["largest_difference"] > 0
    head, *rows = ullage(*asked).out.splitlines()
    assert head.split("  ")[0] == "beside fp32, queries: 1"
    told = [(exact["profile"], "1.0000"), (lower["profile"], f"{lower['tau']:.4f}")]
    assert [tuple(row.split()[:2]) for row in rows] == told


def test_what_it_cannot_measure_is_refused(ullage, cases, tmp_path):
    assert "none cannot be read" in ullage("bench", "precision", str(tmp_path / "none")).refusal
    assert "--precisions is empty" in ullage("bench", "precision", str(cases), "--precisions", ",").refusal
