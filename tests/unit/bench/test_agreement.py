"""What a lower precision does to the order of one's own passages: read, computed by the service's own code, told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from checkpoints import make_checkpoint
from ullage.bench.agreement import kendall_tau, measure_agreement, read_cases
from ullage.errors import InvalidRequest, SettingsError

QUERY = "which pump is serviced"
PASSAGES = [f"pump {n} is serviced every {n % 7} weeks, {'and more ' * (n % 5)}said" for n in range(24)]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    path = tmp_path / "cases.jsonl"
    lines = [{"query": QUERY, "passages": PASSAGES}, {"query": "what more", "passages": PASSAGES[:5]}]
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    return path


def test_fp32_agrees_with_itself_and_int8_nearly(cases: Path, tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", "bert", labels=1)
    said: list[str] = []
    exact, lower = measure_agreement(read_cases(cases), ["fp32", "int8"], said.append, model=str(model))
    assert (exact.precision, exact.cases, exact.tau, exact.worst_tau, exact.same_top) == ("fp32", 2, 1.0, 1.0, 1.0)
    assert exact.largest_difference == 0
    assert exact.spread > 0
    assert lower.profile.startswith("cpu-int8-")
    assert 0.5 < lower.worst_tau <= lower.tau <= 1
    assert 0 < lower.largest_difference < lower.spread
    assert [one.split(":")[1] for one in said] == [" 2 queries"] * 3
    with pytest.raises(SettingsError, match="precision=fp8"):
        list(measure_agreement(read_cases(cases), ["fp8"], said.append, model=str(model)))


@pytest.mark.parametrize("line", ["no json", "[]", '{"query": "q"}', '{"query": "q", "passages": ["one"]}',
                                  '{"query": " ", "passages": ["a", "b"]}', '{"query": "q", "passages": "ab"}',
                                  '{"query": "q", "passages": ["a", 2]}'])
def test_a_line_that_is_no_case_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "cases.jsonl"
    path.write_text('{"query": "q", "passages": ["a", "b"]}\n' + line + "\n")
    with pytest.raises(InvalidRequest, match="line 2: give"):
        read_cases(path)


def test_a_file_without_lines_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cases.jsonl"
    with pytest.raises(InvalidRequest, match="cannot be read"):
        read_cases(path)
    path.write_text("\n")
    with pytest.raises(InvalidRequest, match="holds no line"):
        read_cases(path)


def test_tau_by_hand() -> None:
    one = np.array([3.0, 2.0, 1.0], np.float32)
    assert kendall_tau(one, one) == 1
    assert kendall_tau(one, -one) == -1
    assert kendall_tau(one, np.array([3.0, 1.0, 2.0], np.float32)) == pytest.approx(1 / 3)
