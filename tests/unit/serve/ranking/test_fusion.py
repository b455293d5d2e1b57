"""The score against a slow, plain reading of its definition."""

import math
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.models.lexical import analyze, idf_table
from ullage.serve.ranking.fusion import (
    Floats,
    PassageFeatures,
    QueryFeatures,
    fuse,
    lexical_features,
    named_features,
    passage_features,
    query_features,
    token_weights,
    z_scores,
)

WIDTH = 24
IDF = {"pump": 2.0, "valv": 5.0, "p-101": 9.0, "101": 4.0, "p": 3.0}
FINITE = st.floats(-1e6, 1e6)


def idf(term: str) -> float:
    return IDF.get(term, 7.0)


def vectors(tokens: int, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=(tokens, WIDTH)).astype(np.float32)


def query_of(weights: Sequence[float], seed: int = 1) -> tuple[QueryFeatures, Floats]:
    """Features of a query of one-word tokens with these idf values, and its token vectors."""
    names = [f"w{i}" for i in range(len(weights))]
    offsets = [(3 * i, 3 * i + 2) for i in range(len(weights))]
    table = dict(zip(names, weights, strict=True))
    found = vectors(len(weights), seed)
    text = " ".join(names)
    return query_features(text, found, offsets, np.zeros(len(weights), bool), table.__getitem__), found


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    product = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / product if product else 0.0


def mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def plain_features(weights: Sequence[float], query: Floats, passage: Floats) -> tuple[float, float, float]:
    q, p = query.astype(float).tolist(), passage.astype(float).tolist()
    late = 0.0
    for weight, token in zip(weights, q, strict=True):
        best = sorted((cosine(token, other) for other in p), reverse=True)[:3]
        late += weight * sum(best) / len(best)
    starts = [s for s in range(0, len(p), 16) if s == 0 or s + 16 < len(p)]
    window = max(cosine(mean(q), mean(p[s : s + 32])) for s in starts)
    return cosine(mean(q), mean(p)), late / sum(weights), window


def plain_z(values: Sequence[float]) -> list[float]:
    middle = sum(values) / len(values)
    sd = math.sqrt(sum((v - middle) ** 2 for v in values) / len(values))
    return [(v - middle) / sd for v in values]


@pytest.mark.parametrize("tokens", [1, 2, 3, 4, 15, 16, 17, 31, 32, 33, 48, 49, 250])
def test_passage_features_follow_their_definition(tokens: int) -> None:
    weights = [1.0, 4.5, 0.25, 7.0]
    query, query_vectors = query_of(weights)
    passage = vectors(tokens, seed=tokens)
    found = passage_features(query, passage)
    expected = plain_features(weights, query_vectors, passage)
    assert (found.dense, found.late, found.window) == pytest.approx(expected, abs=1e-5)


def test_the_query_itself_has_cosine_one() -> None:
    query, query_vectors = query_of([3.0])
    found = passage_features(query, query_vectors)
    assert (found.dense, found.late, found.window) == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)


def test_scale_of_the_vectors_does_not_matter() -> None:
    query, _ = query_of([1.0, 2.0])
    passage = vectors(70, 3)
    one, ten = passage_features(query, passage), passage_features(query, passage * np.float32(10))
    assert (ten.dense, ten.late, ten.window) == pytest.approx((one.dense, one.late, one.window), abs=1e-6)


def test_a_short_answer_inside_a_long_passage_shows_in_the_window() -> None:
    query, query_vectors = query_of([1.0, 1.0])
    passage = vectors(256, 4)
    passage[96:128] = query_vectors.mean(axis=0)
    found = passage_features(query, passage)
    assert found.window == pytest.approx(1.0, abs=1e-5)
    assert found.dense < 0.9


@pytest.mark.parametrize(
    "passage", [vectors(0, 1), np.zeros((1, WIDTH), np.float32), np.zeros((40, WIDTH), np.float32)]
)
def test_nothing_to_compare_gives_zero(passage: Floats) -> None:
    query, _ = query_of([1.0, 2.0])
    assert passage_features(query, passage) == PassageFeatures(0.0, 0.0, 0.0)


def test_a_query_of_stop_words_has_no_late_part() -> None:
    found = query_features("who is it", vectors(3, 1), [(0, 3), (4, 6), (7, 9)], np.zeros(3, bool), idf)
    assert len(found.tokens) == len(found.weights) == 0
    passage = passage_features(found, vectors(20, 2))
    assert passage.late == 0.0
    assert passage.dense != 0.0


def test_an_empty_query_is_no_error() -> None:
    special = np.ones(2, bool)
    assert len(query_features("", vectors(2, 1), [(0, 0), (0, 0)], special, idf).weights) == 0
    none = query_features("", vectors(0, 1), [], np.zeros(0, bool), idf)
    assert passage_features(none, vectors(5, 1)) == PassageFeatures(0.0, 0.0, 0.0)


def test_pieces_weigh_as_much_as_their_word() -> None:
    # [CLS] the val ##ves , of pump p - 101 [SEP]
    text = "the Valves, of pump P-101"
    offsets = [(0, 0), (0, 3), (4, 7), (7, 10), (10, 11), (12, 14), (15, 19), (20, 21), (21, 22), (22, 25), (0, 0)]
    special = np.array([True] + [False] * 9 + [True])
    weights = token_weights(text, offsets, special, idf)
    assert weights.tolist() == [0, 0, 5, 5, 0, 0, 2, 3, 0, 4, 0]
    assert token_weights("valves-pump", [(0, 11)], np.zeros(1, bool), idf).tolist() == [5]


def test_weights_sum_to_one_and_special_tokens_are_only_pooled() -> None:
    found_vectors = vectors(4, 5)
    special = np.array([True, False, False, True])
    found = query_features("pump valve", found_vectors, [(0, 0), (0, 4), (5, 10), (0, 0)], special, idf)
    assert found.weights.tolist() == pytest.approx([2 / 7, 5 / 7])
    assert np.linalg.norm(found.tokens, axis=1).tolist() == pytest.approx([1, 1])
    pooled = mean(found_vectors.astype(float).tolist())
    assert cosine(found.pooled.astype(float).tolist(), pooled) == pytest.approx(1)


def test_the_packaged_table_is_the_default() -> None:
    text, offsets, special = "pump valve", [(0, 4), (5, 10)], np.zeros(2, bool)
    found, named = (query_features(text, vectors(2, 1), offsets, special, f) for f in (None, idf_table().idf))
    assert found.weights.tolist() == named.weights.tolist()
    terms = [["pump"], ["valv", "pump"]]
    assert lexical_features(["pump"], terms).tolist() == lexical_features(["pump"], terms, idf_table().idf).tolist()


def plain_bm25(query: Sequence[str], passages: Sequence[Sequence[str]]) -> list[float]:
    middle = sum(map(len, passages)) / len(passages)
    scores = []
    for passage in passages:
        score = 0.0
        for term in query:
            times = list(passage).count(term)
            if times:
                score += idf(term) * times * 2.2 / (times + 1.2 * (0.25 + 0.75 * len(passage) / middle))
        scores.append(score)
    return scores


TERMS = st.lists(st.sampled_from(["pump", "valv", "101", "x"]), max_size=8)


@given(TERMS, st.lists(TERMS, min_size=1, max_size=6))
def test_lexical_features_are_bm25(query: list[str], passages: list[list[str]]) -> None:
    assert lexical_features(query, passages, idf).tolist() == pytest.approx(plain_bm25(query, passages))


def test_numbers_that_the_query_names_are_counted() -> None:
    asked = analyze("Who approves P-101 by 12 May according to No. 2,859?")
    passages = [analyze(text) for text in ("No. 2859 of P-101", "No. 2860, 12 May", "P-101", "")]
    assert named_features(asked, passages).tolist() == [3, 0, 2, 0]
    assert named_features(analyze("Who approves the pumps?"), passages).tolist() == [0, 0, 0, 0]
    dense = [0.2, 0.9, 0.5, 0.4]
    named = fuse(dense, dense, dense, dense, named_features(asked, passages))
    assert named.tolist() != fuse(dense, dense, dense, dense).tolist()
    unnamed = fuse(dense, dense, dense, dense, named_features(["pump"], passages))
    assert unnamed.tolist() == fuse(dense, dense, dense, dense).tolist()


def test_lexical_features_without_passages_or_words() -> None:
    assert lexical_features(["pump"], [], idf).tolist() == []
    assert lexical_features(["pump"], [[], []], idf).tolist() == [0, 0]
    assert lexical_features([], [["pump"]], idf).tolist() == [0]


def test_fuse_adds_the_z_scores() -> None:
    parts = np.random.default_rng(0).normal(size=(4, 9)) * [[1], [0.01], [1], [30]]
    expected = np.sum([plain_z(part.tolist()) for part in parts], axis=0)
    found = fuse(*parts)
    assert found.dtype == np.float32
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-5)


@given(st.lists(st.tuples(FINITE, FINITE, FINITE, FINITE), max_size=30), st.randoms())
def test_fuse_is_finite_and_follows_the_passages(rows: list[tuple[float, ...]], random: Random) -> None:
    columns = np.array(rows, np.float64).reshape(-1, 4).T
    scores = fuse(*columns)
    assert scores.shape == (len(rows),)
    assert np.isfinite(scores).all()
    assert np.abs(scores).max(initial=0) <= 4 * math.sqrt(max(1, len(rows))) + 1e-3
    places = list(range(len(rows)))
    random.shuffle(places)
    assert fuse(*columns[:, places]).tolist() == scores[places].tolist()


@pytest.mark.parametrize("values", [[], [0.3], [0.0, 0.0], [0.1] * 7, [0.1, 0.1 + 1e-9, 0.1], [-1e5] * 3])
def test_a_feature_without_spread_adds_nothing(values: list[float]) -> None:
    assert z_scores(np.array(values)).tolist() == [0] * len(values)
    other = [float(i) for i in range(len(values))]
    alone = fuse(other, [0] * len(values), [0] * len(values), [0] * len(values))
    assert fuse(other, values, values, values).tolist() == alone.tolist()


def test_equal_passages_get_equal_scores() -> None:
    query, _ = query_of([1.0, 2.0])
    rows = [vectors(40, 1), vectors(90, 2), vectors(40, 1)]
    found = [passage_features(query, row) for row in rows]
    words = [analyze(text) for text in ("a pump", "valves", "a pump")]
    scores = fuse(
        [f.dense for f in found], [f.late for f in found], [f.window for f in found], lexical_features(["pump"], words)
    )
    assert scores[0] == scores[2] != scores[1]


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_feature_that_is_no_number_is_refused(broken: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        fuse([0.1, broken], [0, 0], [0, 0], [0, 0])


def test_features_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        fuse([0.1, 0.2], [0, 0], [0, 0], [0])


@settings(max_examples=30)
@given(st.integers(1, 120), st.integers(0, 1000))
def test_a_passage_keeps_its_features_whatever_came_before(tokens: int, seed: int) -> None:
    query, _ = query_of([1.0, 2.0, 3.0])
    passage = vectors(tokens, seed)
    before = passage.copy()
    first = passage_features(query, passage)
    passage_features(query, vectors(77, seed + 1))
    assert passage_features(query, passage) == first
    assert np.array_equal(passage, before)
    assert all(-1 - 1e-5 <= value <= 1 + 1e-5 for value in (first.dense, first.late, first.window))
