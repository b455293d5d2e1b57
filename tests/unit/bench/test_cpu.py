"""The CPU benchmark's own parts: what it scores, how it compares rankings, what it prints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ullage.bench.cpu import CpuReport, Line, kendall_tau, loads, markdown
from ullage.bench.cpu_checkpoint import mixed, write_checkpoint
from ullage.bench.cpu_peer import answer
from ullage.models.folder import card_from_folder
from ullage.models.tokenize import Tokenizer


@pytest.fixture(scope="module")
def checkpoint(model_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("bench") / "m", model_cache)


def test_the_checkpoint_is_a_cross_encoder_of_the_published_shape(checkpoint: Path) -> None:
    card = card_from_folder(checkpoint, "ranking")
    shape = card.shape
    assert (shape.layers, shape.hidden, shape.heads, shape.ffn, shape.vocab) == (6, 384, 12, 1536, 30522)
    assert card.kind == "cross-encoder"
    assert 22_000_000 < card.parameters.total < 23_000_000


def test_every_text_has_the_tokens_it_claims(checkpoint: Path) -> None:
    tokenizer = Tokenizer(checkpoint / "tokenizer.json")
    found = loads(checkpoint)
    assert [len(requests) for requests, _ in found.values()] == [1, 1, 1, 16]
    assert [clients for _, clients in found.values()] == [1, 1, 1, 16]
    for requests, _ in found.values():
        for work in requests:
            rows = tokenizer.encode_pairs(work.query, work.passages)
            assert tuple(len(row) for row in rows) == work.lengths
    lengths = found["40 mixed"][0][0].lengths
    assert len(lengths) == 40
    assert max(lengths) == 512
    assert abs(np.mean(lengths) - 200) < 2


def test_mixed_lengths_have_the_mean_that_was_asked_for() -> None:
    for seed in range(5):
        assert abs(np.mean(mixed(200, seed=seed)) - 200) < 3


def test_kendall_tau_counts_pairs_in_order() -> None:
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == 1
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1
    assert kendall_tau([1, 2, 3], [2, 1, 3]) == pytest.approx(1 / 3)
    assert kendall_tau([1, 2, 3], [1, 1, 1]) == 0


def test_clients_share_the_requests_and_every_answer_finds_its_place() -> None:
    asked = {"requests": [[str(number), ["a"] * number] for number in range(1, 8)], "clients": 3}
    found = answer(lambda query, passages: [float(query)] * len(passages), asked)
    assert found["scores"] == [[float(number)] * number for number in range(1, 8)]
    assert len(found["latencies_s"]) == 7
    assert 0 < max(found["latencies_s"]) <= found["seconds"]


def test_the_report_prints_ratios_peaks_and_what_did_not_run() -> None:
    report = CpuReport({"cpu": "two cores"}, {"infinity optimum": "does not run: no"},
                       [Line("ullage, HTTP", "40 mixed", 100.0, 0.4, 0.5, 1.8)], {"ullage, HTTP": 300 << 20},
                       {"HTTP adds, median ms": 1.234})
    said = markdown(report)
    assert "| 40 mixed | ullage, HTTP | 100.0 | 400 | 500 | 1.80 | 300 |" in said
    assert "- HTTP adds, median ms: 1.23" in said
    assert "infinity optimum: does not run: no" in said
