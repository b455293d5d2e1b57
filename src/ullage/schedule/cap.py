"""How many tokens a batch may hold: less after running out of memory, and slowly more again."""

from __future__ import annotations

CLEAN_BATCHES = 16
MOST_CLEAN_BATCHES = 128
STEPS = 8
"""A raise is an eighth of the plan's cap, so that the way back from one longest row takes at most eight raises."""


class BatchCap:
    """Between `floor`, one longest row, and `planned`, what the plan was made for; both in tokens.

    Running out of memory halves the cap. Each `patience` clean batches raise it by one step. When a raise led to
    running out again, somebody else has the memory: patience doubles, up to MOST_CLEAN_BATCHES, until the plan's cap
    is reached.
    """

    def __init__(self, planned: int, floor: int) -> None:
        self.planned = planned
        self.floor = min(floor, planned)
        self.tokens = planned
        self.patience = CLEAN_BATCHES
        self._clean = 0
        self._raised = False

    def lower(self, tokens: int) -> bool:
        """A batch of `tokens` did not fit. True when the cap is lower now."""
        before = self.tokens
        self.tokens = max(self.floor, min(self.tokens, tokens // 2))
        self._clean = 0
        if self._raised:
            self.patience = min(MOST_CLEAN_BATCHES, self.patience * 2)
            self._raised = False
        return self.tokens < before

    def clean(self) -> bool:
        """A batch ran. True when the cap is higher now."""
        if self.tokens >= self.planned:
            return False
        self._clean += 1
        if self._clean < self.patience:
            return False
        self._clean = 0
        self._raised = True
        self.tokens = min(self.planned, self.tokens + max(1, self.planned // STEPS))
        if self.tokens == self.planned:
            self.patience = CLEAN_BATCHES
            self._raised = False
        return True
