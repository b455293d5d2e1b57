"""Sparse weights whose inner product is a BM25 score."""

from ullage.models.lexical import idf_table
from ullage.store.lexical import passage_weights, query_weights


def score(query: str, passage: str) -> float:
    weights = passage_weights(passage)
    return sum(value * weights.get(number, 0.0) for number, value in query_weights(query).items())


def test_inner_product_is_bm25_by_hand() -> None:
    passage = "pump valve pump"
    terms, frequency = 3, 2
    slope = 1.2 * (1 - 0.75 + 0.75 * terms / 100)
    expected = idf_table().idf("pump") * frequency * 2.2 / (frequency + slope)
    assert abs(score("pump", passage) - expected) < 1e-9


def test_word_forms_and_identifiers_meet() -> None:
    assert score("maintaining pumps", "The pump was maintained.") > 0
    assert score("P-101", "Pump P-101 failed") > score("P-101", "Pump P-102 failed") == 0


def test_empty_texts() -> None:
    assert query_weights("of the and") == {}
    assert passage_weights("")
    assert score("pump", "") == 0


def test_numbers_fit_the_database() -> None:
    weights = passage_weights(" ".join(f"word{n}" for n in range(3000)))
    assert len(weights) > 2990
    assert all(0 < number < 2**32 - 1 for number in weights)
