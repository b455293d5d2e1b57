"""Tokens per second of one engine, lately."""

from __future__ import annotations

DECAY = 0.9
"""Weight of the past at each batch: ten batches ago counts a third of now."""


class Rate:
    def __init__(self) -> None:
        self._tokens = 0.0
        self._seconds = 0.0
        self.seen_tokens = 0
        """All that were ever observed."""

    def observe(self, tokens: int, seconds: float) -> None:
        self.seen_tokens += tokens
        self._tokens = DECAY * self._tokens + tokens
        self._seconds = DECAY * self._seconds + seconds

    @property
    def tokens_per_s(self) -> float | None:
        """None before the first batch."""
        return self._tokens / self._seconds if self._seconds > 0 else None
