"""The ranking service's engine in this process: `from ullage import Reranker`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from ullage.errors import InvalidRequest
from ullage.models.card import Card
from ullage.serve.inprocess import LocalEncoder
from ullage.serve.ranking.fit import Truncate
from ullage.serve.ranking.ranker import Ranker


@dataclass(frozen=True, slots=True)
class Ranked:
    """One passage: its place in the call, its text, and its raw score (larger is better)."""

    index: int
    text: str
    logit: float


class Reranker:
    """Load a ranking model within `memory` (bytes, or text such as "700MiB"; None: what is free, less a headroom).

    `model` is a card name or a folder with a checkpoint; None is the bundled fusion. `precision` is that of its weights
    (fp32, bf16, fp16, int8 or fp8, as far as model and machine have it); None is the model's own. Raises DoesNotFit,
    ModelNotFound or SettingsError. Thread-safe; use as a context manager or call `close`.
    """

    def __init__(
        self, model: str | None = None, *, memory: int | str | None = None, threads: int | None = None,
        precision: str | None = None
    ) -> None:
        self._local = LocalEncoder("ranking", model, memory, threads, precision)
        encoder = self._local.encoder
        self._ranker = Ranker(encoder.card, encoder.tokenizer, encoder.scheduler, limit=encoder.profile.max_sequence,
                              overlaps=encoder.overlaps)

    @property
    def card(self) -> Card:
        """The model that scores, and what is known of it."""
        return self._ranker.card

    @property
    def profile_id(self) -> str:
        """How it runs, such as `cpu-int8-t4096-s512`."""
        return self._local.encoder.profile.id

    def rank(
        self, query: str, passages: Sequence[str], *, top_k: int | None = None, truncate: Truncate = "END"
    ) -> list[Ranked]:
        """Passages sorted by logit, best first; all of them, or the first `top_k`.

        Raises InvalidRequest for a blank query or no passages, TooLong with `truncate="NONE"`.
        """
        if not query.strip():
            raise InvalidRequest("query is blank: give a text")
        if isinstance(passages, str) or not passages:
            raise InvalidRequest(f"passages is {passages!r}: give a list of at least one text")
        if top_k is not None and top_k < 1:
            raise InvalidRequest(f"top_k={top_k}: give 1 or more")
        scores = self._local.wait(self._ranker.score(query, passages, truncate))
        order = scores.order()[:top_k]
        return [Ranked(index, passages[index], float(scores.logits[index])) for index in order]

    def close(self) -> None:
        """Give the memory back. Idempotent."""
        self._local.close()

    def __enter__(self) -> Reranker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
