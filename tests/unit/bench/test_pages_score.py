"""Scores of pages, on pages small enough to score by hand."""

import pytest

from ullage.bench.pages_score import CellScore, cell_score, character_errors, markdown_tables, order_errors

TRUE = [["Pump", "Flow"], ["P-1", "3"], ["P-2", ""]]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([TRUE], CellScore(5, 5, 5)),
        ([[["Title", ""], *TRUE]], CellScore(5, 6, 5)),
        ([[["Pump", "Flow"], ["P-1 3", ""], ["P-2", ""]]], CellScore(3, 4, 5)),
        ([[["Flow", "Pump"], ["3", "P-1"]]], CellScore(0, 4, 5)),
        ([TRUE, [["a", "b"], ["c", "d"]]], CellScore(5, 9, 5)),
        ([], CellScore(0, 0, 5)),
    ],
)
def test_cells(said: list, expected: CellScore) -> None:
    assert cell_score(said, [TRUE]) == expected


def test_f1() -> None:
    assert CellScore(3, 4, 6).f1 == pytest.approx(0.6)
    assert CellScore().f1 == 1.0


def test_tables_of_a_markdown_text() -> None:
    text = "x | y\n\n| a |  | b \\| c |\n|---|---|---|\n| 1 |  | 2 |\n\ntext\n\n| lone | row |\n"
    assert markdown_tables(text) == [[["a", "b | c"], ["1", "2"]]]


def test_order() -> None:
    paragraphs = ["First words.", "Second words.", "Third words."]
    assert order_errors("# First\nwords. Second words. **Third** words.", paragraphs) == 0
    assert order_errors("Second words. First words. Third words.", paragraphs) == 1
    assert order_errors("First Second words. words. Third words.", paragraphs) == 1


@pytest.mark.parametrize(
    ("said", "there", "errors"),
    [("abc", "abc", 0), ("abd", "abc", 1), ("", "abc", 3), ("a bc", "a  bc", 0), ("xabc", "abc", 1),
     ("kitten", "sitting", 3)],
)
def test_characters(said: str, there: str, errors: int) -> None:
    assert character_errors(said, there)[0] == errors
