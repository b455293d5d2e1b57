"""The one handler behind every dialect of embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Response

from ullage.errors import NotReady
from ullage.http import Health
from ullage.http.metrics import Inferences, PhaseMetrics
from ullage.http.names import Names
from ullage.http.telling import tell
from ullage.models.card import Card
from ullage.serve.embedding.vectors import InputType, Truncate, Vectors, embed
from ullage.serve.encoder import Encoder, EncoderLifecycle, within

SUFFIXES: dict[str, InputType] = {"-query": "query", "-passage": "passage"}


@dataclass(frozen=True, slots=True)
class EmbeddingService:
    """`timeout_s` bounds a request from its tokens to its vectors."""

    card: Card
    names: Names
    lifecycle: EncoderLifecycle
    health: Health
    phases: PhaseMetrics
    inferences: Inferences
    timeout_s: float

    async def embed(self, texts: Sequence[str], truncate: Truncate, input_type: InputType) -> Vectors:
        """One vector for every text. Raises NotReady, DeadlineExceeded and what `embed` of vectors raises."""
        work = embed(self.encoder(), texts, truncate, input_type)
        with self.inferences.one(len(texts)) as done:
            vectors = await within(self.timeout_s, work)
            done(vectors.queue_s, vectors.compute_s)
        self.phases.observe(_seconds(vectors))
        return vectors

    def encoder(self) -> Encoder:
        if self.lifecycle.encoder is None or not self.health.ready:
            raise NotReady(f"embedding is not ready: {self.health.reason}", retry_after_s=2)
        return self.lifecycle.encoder

    def input_type_of(self, model: str) -> InputType:
        """What the model's name says: `-query`, else a passage. Raises UnknownModel for a name that is not ours."""
        if self.names.knows(model):
            return "passage"
        for suffix, kind in SUFFIXES.items():
            if model.endswith(suffix) and self.names.knows(model.removesuffix(suffix)):
                return kind
        raise self.names.unknown(model)

    def tell(self, response: Response, vectors: Vectors) -> None:
        """Phases, tokens and cuts, and the model's revision, in headers."""
        tell(response, _seconds(vectors), vectors.cut, tokens=vectors.tokens, revision=self.card.revision)


def _seconds(vectors: Vectors) -> dict[str, float]:
    return {"tokenize": vectors.tokenize_s, "queue": vectors.queue_s, "compute": vectors.compute_s}
