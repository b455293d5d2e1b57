"""Reading order and paragraphs, on boxes alone."""

from __future__ import annotations

import numpy as np
import pytest

from ullage.engines.vision.lines import in_order, merged, paragraphs, reading_order, skew
from ullage.engines.vision.shapes import Box, Line


def line(text: str, x: float, y: float, width: float = 200, height: float = 20, turn: float = 0.0) -> Line:
    points = Box(x, y, x + width, y + height).points
    cos, sin = np.cos(turn), np.sin(turn)
    return Line((points @ np.array([(cos, sin), (-sin, cos)])).astype(np.float32), text, 0.9)


def two_columns(turn: float = 0.0) -> list[Line]:
    head = [line("head", 0, 0, 430, turn=turn)]
    left = [line(f"l{n}", 0, 50 + 30 * n, turn=turn) for n in range(5)]
    right = [line(f"r{n}", 230, 50 + 30 * n, turn=turn) for n in range(5)]
    return head + left + right


@pytest.mark.parametrize("turn", [0.0, 0.03, -0.03])
def test_columns_are_read_one_after_the_other_also_where_the_page_is_skewed(turn):
    shuffled = two_columns(turn)[::-1]
    said = [one.text for one in in_order(shuffled)]
    assert said == ["head", *(f"l{n}" for n in range(5)), *(f"r{n}" for n in range(5))]
    assert skew(shuffled) == pytest.approx(turn, abs=1e-3)


def test_cells_of_a_table_are_read_by_rows():
    cells = [Box(x, y, x + 60, y + 20) for y in (0, 40, 80) for x in (0, 200, 400)]
    assert reading_order(cells[::-1]) == list(range(8, -1, -1))


def test_paragraphs_end_at_a_gap_and_at_another_size():
    lines = [line("Title", 0, 0, 300, 40), line("one", 0, 60), line("two", 0, 84), line("three", 0, 140)]
    assert [[one.text for one in group] for group in paragraphs(lines)] == [["Title"], ["one", "two"], ["three"]]
    assert [one.text for one in merged(lines, "paragraph")] == ["Title", "one two", "three"]
    assert [one.text for one in merged(lines, "sentence")] == ["Title", "one", "two", "three"]


def test_words_stand_where_their_line_was_split():
    words = (line("one", 0, 0, 90), line("two", 110, 0, 90))
    whole = Line(Box(0, 0, 200, 20).points, "one two", 0.9, words)
    assert [one.text for one in merged([whole], "word")] == ["one", "two"]


def test_nothing_and_one_line_have_an_order():
    assert reading_order([]) == []
    assert reading_order([Box(0, 0, 1, 1)]) == [0]
    assert skew([]) == 0.0
