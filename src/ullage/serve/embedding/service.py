"""The one handler behind every dialect of embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ullage.http.telling import told
from ullage.serve.embedding.vectors import InputType, Truncate, Vectors, embed
from ullage.serve.encoder_service import EncoderService, phases_of

SUFFIXES: dict[str, InputType] = {"-query": "query", "-passage": "passage"}


@dataclass(frozen=True, slots=True)
class EmbeddingService(EncoderService):
    """See EncoderService."""

    ROLE = "embedding"

    async def embed(self, texts: Sequence[str], truncate: Truncate, input_type: InputType) -> Vectors:
        """One vector for every text. Raises NotReady, DeadlineExceeded and what `embed` of vectors raises."""
        return await self.counted(embed(self.encoder(), texts, truncate, input_type), len(texts))

    def input_type_of(self, model: str) -> InputType:
        """What the model's name says: `-query`, else a passage. Raises UnknownModel for a name that is not ours."""
        if self.names.knows(model):
            return "passage"
        for suffix, kind in SUFFIXES.items():
            if model.endswith(suffix) and self.names.knows(model.removesuffix(suffix)):
                return kind
        raise self.unknown(model)

    def told(self, vectors: Vectors) -> dict[str, str]:
        """Headers of phases, tokens and cuts, and of the model's revision."""
        return told(phases_of(vectors), vectors.cut, tokens=vectors.tokens, revision=self.card.revision)
