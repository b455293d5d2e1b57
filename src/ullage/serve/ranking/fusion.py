"""A ranking score from one encoder pass per text: dense + late interaction + windows + words.

    s = z(dense) + z(late) + z(window) + z(lexical) + z(named),  z(x) = (x - mean) / sd over the passages of one request

With an encoder for whole texts (MiniLM) and no trained reranker at hand, this ranks a request's passages about as well
as hybrid retrieval over the whole collection does, from the query and the passages alone. Measured with MiniLM,
passages cut at 256 tokens; later text counts only in `lexical`. It is a comparison within one request: the same
passage scores differently beside others, and a lone passage scores 0.

Passages come one at a time: `passage_features` keeps three numbers of each, so its token vectors can go at once.
Token vectors are the encoder's last hidden state, float32 [tokens, width], special tokens included, not normalised.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ullage.models.lexical import idf_table, numbers, words

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

NEAREST = 3  # passage tokens that answer for one query token
STRIDE = 16  # tokens; a window is two strides
K1 = 1.2
B = 0.75
FLAT = 1e-6  # a spread below this share of the largest value is rounding


@dataclass(frozen=True, slots=True)
class QueryFeatures:
    """What ranking needs of the query. Made once per request.

    `pooled`: [width], length 1 (or 0): the mean of all token vectors, special tokens included.
    `tokens`: [kept, width], each of length 1: the tokens that carry meaning.
    `weights`: [kept], the idf of each kept token's word, summing to 1. `kept` may be 0.
    """

    pooled: Floats
    tokens: Floats
    weights: Floats


@dataclass(frozen=True, slots=True)
class PassageFeatures:
    """What is left of one passage's token vectors: three cosines, in -1..1."""

    dense: float
    late: float
    window: float


def query_features(
    text: str,
    token_vectors: Floats,
    offsets: Sequence[tuple[int, int]],
    special: npt.NDArray[np.bool_],
    idf: Callable[[str], float] | None = None,
) -> QueryFeatures:
    """Features of a query of n tokens.

    `token_vectors` [n, width]; `offsets` n pairs (start, end) of code points in `text`, as the tokenizer gives them;
    `special` [n], true for [CLS], [SEP] and the like; `idf` of a term (default: the packaged table).
    """
    weights = token_weights(text, offsets, special, idf or idf_table().idf)
    kept = weights > 0
    total = float(weights.sum())
    return QueryFeatures(
        pooled=_unit_rows(_mean(token_vectors)[np.newaxis])[0],
        tokens=_unit_rows(token_vectors[kept]),
        weights=(weights[kept] / total).astype(np.float32) if total else np.zeros(0, np.float32),
    )


def token_weights(
    text: str, offsets: Sequence[tuple[int, int]], special: npt.NDArray[np.bool_], idf: Callable[[str], float]
) -> Doubles:
    """[n]: for each token the idf of the word part it lies in; 0 for special tokens, punctuation and stop words.

    All pieces of a split word get the whole word's idf. A token that spans several word parts gets the largest.
    """
    weights = np.zeros(len(offsets), np.float64)
    rarities = [(word.start, word.end, idf(word.term)) for word in words(text) if word.term is not None]
    for index, (start, end) in enumerate(offsets):
        if not special[index]:
            weights[index] = max((value for a, b, value in rarities if a < end and start < b), default=0.0)
    return weights


def passage_features(query: QueryFeatures, token_vectors: Floats) -> PassageFeatures:
    """Three features of a passage of n tokens; all 0 where there is nothing to compare.

    dense: cosine of the pooled query and the mean of all token vectors.
    late: for each kept query token the mean of its 3 largest cosines to passage tokens, weighted by idf.
    window: largest cosine of the pooled query and the mean of any 32 tokens in a row, in steps of 16.
    `token_vectors` [n, width], special tokens included. A row's features depend on that row alone.
    """
    if not len(token_vectors):
        return PassageFeatures(0.0, 0.0, 0.0)
    strides = _stride_sums(token_vectors)
    return PassageFeatures(
        dense=float(_cosines(strides.sum(axis=0)[np.newaxis], query.pooled)[0]),
        late=_late(query, token_vectors),
        window=float(_cosines(_windows(strides), query.pooled).max()),
    )


def _late(query: QueryFeatures, token_vectors: Floats) -> float:
    if not len(query.tokens):
        return 0.0
    lengths = np.sqrt(np.einsum("ij,ij->i", token_vectors, token_vectors))
    cosines = (query.tokens @ token_vectors.T) * _inverse(lengths)
    if cosines.shape[1] > NEAREST:
        cosines = np.partition(cosines, -NEAREST, axis=1)[:, -NEAREST:]
    return float(query.weights @ cosines.mean(axis=1))


def _stride_sums(token_vectors: Floats) -> Floats:
    """[ceil(n / 16), width]: sums of 16 token vectors each; the last may hold fewer."""
    return np.add.reduceat(token_vectors, np.arange(0, len(token_vectors), STRIDE), axis=0)


def _windows(strides: Floats) -> Floats:
    """Sums of two neighbouring strides; a cosine needs no division by the count."""
    return strides if len(strides) == 1 else strides[:-1] + strides[1:]


def lexical_features(
    query_terms: Sequence[str],
    passages_terms: Sequence[Sequence[str]],
    idf: Callable[[str], float] | None = None,
) -> Doubles:
    """[passages]: BM25 (k1 1.2, b 0.75) of terms as `ullage.models.lexical.analyze` gives them.

    Passage lengths are compared within the request, rarity is not: `idf` defaults to the packaged table.
    A term that the query repeats counts that many times.
    """
    rarity = idf or idf_table().idf
    wanted = {term: times * rarity(term) for term, times in Counter(query_terms).items()}
    total = sum(map(len, passages_terms))
    mean_length = total / len(passages_terms) if total else 1.0
    scores = np.zeros(len(passages_terms), np.float64)
    for index, terms in enumerate(passages_terms):
        found = Counter(term for term in terms if term in wanted)
        damping = K1 * (1 - B + B * len(terms) / mean_length)
        scores[index] = sum(
            weight * found[term] * (K1 + 1) / (found[term] + damping) for term, weight in wanted.items() if found[term]
        )
    return scores


def named_features(query_terms: Sequence[str], passages_terms: Sequence[Sequence[str]]) -> Doubles:
    """[passages]: how many of the query's numbers and identifiers a passage holds.

    They say exactly what is meant, and neither vectors nor one share in BM25 of four tell them from other numbers.
    """
    named = numbers(query_terms)
    return np.asarray([len(named.intersection(terms)) if named else 0 for terms in passages_terms], np.float64)


def fuse(dense: npt.ArrayLike, late: npt.ArrayLike, window: npt.ArrayLike, *lexical: npt.ArrayLike) -> Floats:
    """[passages] float32: the sum of the features' z-scores; higher is better, the mean is 0.

    A feature that does not tell the passages apart adds 0. The order of the passages changes no score.
    Raises ValueError for features of different lengths or with a value that is not finite.
    """
    parts = [np.asarray(part, np.float64) for part in (dense, late, window, *lexical)]
    if any(part.shape != parts[0].shape or part.ndim != 1 for part in parts):
        raise ValueError(f"features must be flat and of one length, not {[part.shape for part in parts]}")
    scores = np.zeros(parts[0].shape, np.float64)
    for part in parts:
        scores += z_scores(part)
    return scores.astype(np.float32)


def z_scores(values: Doubles) -> Doubles:
    """(x - mean) / sd, with the population's sd; all 0 if the values are equal up to rounding."""
    if not np.isfinite(values).all():
        raise ValueError("a feature is not a finite number")
    if len(values) < 2:
        return np.zeros_like(values)
    # fsum rounds once, so neither figure depends on the order of the passages
    centred = values - math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum(centred**2) / len(values))
    if deviation <= FLAT * float(np.abs(values).max()):
        return np.zeros_like(values)
    return centred / deviation


def _mean(token_vectors: Floats) -> Floats:
    """Mean of the rows [n, width]; 0 if there are none."""
    mean: Floats = token_vectors.sum(axis=0) / np.float32(max(1, len(token_vectors)))
    return mean


def _unit_rows(vectors: Floats) -> Floats:
    """Rows [n, width] brought to length 1; rows of zeros stay."""
    return vectors * _inverse(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))[:, np.newaxis]


def _cosines(vectors: Floats, unit: Floats) -> Floats:
    """Cosines of each row [n, width] and one vector of length 1."""
    products: Floats = vectors @ unit
    return products * _inverse(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)))


def _inverse(lengths: Floats) -> Floats:
    """1 / length; 0 for length 0."""
    inverse: Floats = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return inverse
