"""Rows that fit: refused, cut at the passage's end, or read in windows that hold all of it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.errors import TooLong
from ullage.models.tokenize import Tokens
from ullage.serve.ranking.fit import OVERLAP, fit, windows


def pair(query: int, passage: int) -> Tokens:
    """[CLS] query [SEP] passage [SEP]; ids of the passage count from 1000."""
    segment = np.array([-1, *[0] * query, -1, *[1] * passage, -1], np.int8)
    ids = np.array([1, *range(10, 10 + query), 2, *range(1000, 1000 + passage), 2], np.int32)
    return Tokens(ids, np.zeros_like(ids), segment, np.zeros((len(ids), 2), np.int32), last=1)


def body(tokens: Tokens) -> list[int]:
    return [int(i) for i in tokens.ids if i >= 1000]


@given(st.integers(0, 40), st.integers(0, 900), st.integers(100, 128))
def test_windows_hold_the_whole_passage_and_overlap(query, passage, limit):
    fitted = windows(pair(query, passage), limit)
    assert fitted.cut == 0
    rows = [body(row) for row in fitted.rows]
    assert all(len(row) <= limit for row in fitted.rows)
    assert sorted({i for row in rows for i in row}) == list(range(1000, 1000 + passage))
    heads = {tuple(int(i) for i in row.ids if i < 1000) for row in fitted.rows}
    assert len(heads) == 1
    overlap = min(OVERLAP, (limit - query - 3) // 4)
    for before, after in pairwise(rows):
        assert len(set(before) & set(after)) >= overlap > 0
    assert fitted.tokens <= 3 * (passage + limit)


def test_at_most_so_many_windows_and_the_rest_counts_as_cut():
    fitted = windows(pair(5, 1000), 108, 2)
    assert len(fitted.rows) == 2
    assert fitted.cut == 1000 - len({i for row in fitted.rows for i in body(row)})
    assert fitted.cut > 0


def test_none_refuses_end_cuts_the_passage_and_a_query_is_never_cut():
    alone, rows = pair(5, 0), [pair(5, 3), pair(5, 100)]
    with pytest.raises(TooLong, match=r"^Input length 108 exceeds maximum allowed token size 64$"):
        fit(alone, rows, 64, "NONE")
    short, cut = fit(alone, rows, 64, "END")
    assert (short.cut, cut.cut) == (0, 44)
    assert body(cut.rows[0]) == list(range(1000, 1056))
    assert [int(i) for i in cut.rows[0].ids if i < 1000] == [1, 10, 11, 12, 13, 14, 2, 2]
    for truncate in ("NONE", "END", "WINDOW"):
        with pytest.raises(TooLong, match=r"^Input length 64 exceeds .* 64 \(the query alone\)$"):
            fit(pair(61, 0), [pair(61, 1)], 64, truncate)


def test_a_long_query_does_not_make_a_passage_cost_many_times_its_size():
    with pytest.raises(TooLong, match="of which the query takes 93; windows want half"):
        fit(pair(90, 0), [pair(90, 5000)], 128, "WINDOW")
    assert len(fit(pair(90, 0), [pair(90, 20)], 128, "WINDOW")) == 1  # nothing is long here


def test_passages_may_be_cut_shorter_than_the_limit():
    [fitted] = fit(pair(5, 0), [pair(5, 50)], 128, "NONE", passage_tokens=10)
    assert (fitted.cut, len(body(fitted.rows[0]))) == (40, 10)
