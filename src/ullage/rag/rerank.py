"""Order candidates by the ranking service, or keep the order of retrieval and say so."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np
import numpy.typing as npt
import structlog

from ullage.clients.ranking import PASSAGES_PER_CALL, RankingClient, Scale
from ullage.errors import DeadlineExceeded, RequestError, Unavailable
from ullage.rag.passage import Candidate, Passage
from ullage.rag.rests import Rests

log = structlog.get_logger("ullage.rag")

RETRIEVAL_WEIGHT = 1.0
"""Share of z(RRF) beside z(logit), for relative scores. See `fused`."""

SCORE_SLOPE = 0.1
"""The stack we replace shows sigmoid(0.1 x logit): 0.5 is neutral."""


@dataclass(frozen=True, slots=True)
class Reranked:
    """`degraded` names the services that did not take part; `reason` is why, in one line."""

    passages: tuple[Passage, ...]
    degraded: tuple[str, ...] = ()
    reason: str = ""


async def rerank(
    client: RankingClient, query: str, passages: Sequence[Candidate], rests: Rests | None = None, *,
    most: int | None = None, least_score: float = 0.0,
) -> Reranked:
    """The passages, best first: all, or the first `most` whose shown score is `least_score` at least.

    A ranking service that is away, slow or talks rubbish costs the order, not the answer. The client's own timeout
    bounds the wait. With `rests` it is not asked while it rests.
    """
    head, tail = list(passages[:PASSAGES_PER_CALL]), list(passages[PASSAGES_PER_CALL:])
    if not head:
        return Reranked(())
    texts = [passage.text for passage in head]
    try:
        if rests is None:
            logits = await client.rank(query, texts)
        else:
            logits = await rests.ask("ranking", lambda: client.rank(query, texts))
        order = fused(logits, [passage.retrieval_score for passage in head], await client.scale())
    except (Unavailable, DeadlineExceeded, RequestError) as error:
        log.warning("answering in retrieval order", reason=error.message)
        return Reranked(as_found(passages[:most]), ("ranking",), error.message)
    worth = (head[i].read(logit) for i in order if shown_score(logit := float(logits[i])) >= least_score)
    return Reranked(tuple(islice(chain(worth, as_found(tail)), most)))


def as_found(passages: Iterable[Candidate]) -> tuple[Passage, ...]:
    """In the order of retrieval."""
    return tuple(passage.read() for passage in passages)


def fused(logits: npt.NDArray[np.float32], retrieval: Sequence[float], scale: Scale) -> list[int]:
    """Indices, best first; ties keep the order of retrieval.

    A cross-encoder's order stands alone. Relative scores, the bundled fusion's, are added to those of retrieval, both
    as z-scores over the request: the fusion sees only the candidates, retrieval has seen the whole collection.
    """
    scores = np.asarray(logits, np.float64)
    if scale == "relative":
        scores = _z(scores) + RETRIEVAL_WEIGHT * _z(np.asarray(retrieval, np.float64))
    return [int(i) for i in np.argsort(-scores, kind="stable")]


def _z(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    spread = float(values.std())
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def shown_score(logit: float | None) -> float:
    """The score of the contract, in [0, 1]; 0 where nothing was reranked."""
    if logit is None:
        return 0.0
    return 1.0 / (1.0 + math.exp(-max(-700.0, min(700.0, SCORE_SLOPE * logit))))
