"""The one handler behind every dialect of ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastapi import Response

from ullage.errors import NotReady, UllageError
from ullage.http import Health
from ullage.http.metrics import Inferences, PhaseMetrics
from ullage.http.names import Names
from ullage.http.telling import tell
from ullage.models.card import Card
from ullage.serve.encoder import Encoder, EncoderLifecycle, within
from ullage.serve.ranking.fit import Truncate
from ullage.serve.ranking.ranker import Ranker, Scores


@dataclass(frozen=True, slots=True)
class RankingService:
    """`timeout_s` bounds a request from its tokens to its scores."""

    card: Card
    names: Names
    lifecycle: EncoderLifecycle
    health: Health
    phases: PhaseMetrics
    inferences: Inferences
    timeout_s: float

    async def score(
        self, query: str, passages: Sequence[str], truncate: Truncate, *,
        most_windows: int | None = None, passage_tokens: int | None = None,
    ) -> Scores:
        """One logit for every passage. Raises NotReady, DeadlineExceeded and what Ranker.score raises."""
        work = ranker_of(self.encoder()).score(
            query, passages, truncate, most_windows=most_windows, passage_tokens=passage_tokens
        )
        with self.inferences.one(len(passages)) as done:
            scores = await within(self.timeout_s, work)
            done(scores.queue_s, scores.compute_s)
        self.phases.observe(_seconds(scores))
        return scores

    def encoder(self) -> Encoder:
        if self.lifecycle.encoder is None or not self.health.ready:
            raise NotReady(f"ranking is not ready: {self.health.reason}", retry_after_s=2)
        return self.lifecycle.encoder

    def check(self, model: str | None) -> None:
        """Raises UnknownModel for a name that is not ours; none at all is ours."""
        if model is not None and not self.names.knows(model):
            raise self.unknown(model)

    def unknown(self, model: str) -> UllageError:
        return self.names.unknown(model)

    def tell(self, response: Response, scores: Scores) -> None:
        """Phases, tokens, cuts and windows, and the model's revision, in headers."""
        tell(response, _seconds(scores), scores.cut, tokens=scores.tokens, windows=scores.windows,
             revision=self.card.revision)


def ranker_of(encoder: Encoder) -> Ranker:
    return Ranker(encoder.card, encoder.tokenizer, encoder.scheduler, limit=encoder.profile.max_sequence)


def relevance(logit: float | np.floating) -> float:
    """1 / (1 + e^-logit), without overflow."""
    value = float(logit)
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def _seconds(scores: Scores) -> dict[str, float]:
    return {"tokenize": scores.tokenize_s, "queue": scores.queue_s, "compute": scores.compute_s}
