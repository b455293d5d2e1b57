"""The one handler behind every dialect of ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ullage.http.telling import told
from ullage.serve.encoder import Encoder
from ullage.serve.encoder_service import EncoderService, phases_of
from ullage.serve.ranking.fit import Truncate
from ullage.serve.ranking.ranker import Ranker, Scores


@dataclass(frozen=True, slots=True)
class RankingService(EncoderService):
    """See EncoderService."""

    ROLE = "ranking"

    async def score(
        self, query: str, passages: Sequence[str], truncate: Truncate, *,
        most_windows: int | None = None, passage_tokens: int | None = None,
    ) -> Scores:
        """One logit for every passage. Raises NotReady, DeadlineExceeded and what Ranker.score raises."""
        work = ranker_of(self.encoder()).score(
            query, passages, truncate, most_windows=most_windows, passage_tokens=passage_tokens
        )
        return await self.counted(work, len(passages))

    def check(self, model: str | None) -> None:
        """Raises UnknownModel for a name that is not ours; none at all is ours."""
        if model is not None and not self.names.knows(model):
            raise self.unknown(model)

    def told(self, scores: Scores) -> dict[str, str]:
        """Headers of phases, tokens, cuts and windows, and of the model's revision."""
        return told(phases_of(scores), scores.cut, tokens=scores.tokens, windows=scores.windows,
                    revision=self.card.revision)


def ranker_of(encoder: Encoder) -> Ranker:
    return Ranker(encoder.card, encoder.tokenizer, encoder.scheduler, limit=encoder.profile.max_sequence,
                  overlaps=encoder.overlaps)


def relevance(logit: float | np.floating) -> float:
    """1 / (1 + e^-logit), without overflow."""
    value = float(logit)
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
