"""Where the time of one request went."""

from __future__ import annotations

import time

from ullage.rag.events import Timings


class Stopwatch:
    """`lap` gives all time since the last lap to one stage, so that the stages sum to the whole."""

    def __init__(self) -> None:
        self._begun = self._last = time.perf_counter()
        self._stages: dict[str, float] = {}
        self._first_text_s: float | None = None

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self._stages[stage] = self._stages.get(stage, 0.0) + now - self._last
        self._last = now

    def first_text(self) -> None:
        if self._first_text_s is None:
            self._first_text_s = time.perf_counter() - self._begun

    def timings(self) -> Timings:
        return Timings(dict(self._stages), time.perf_counter() - self._begun, self._first_text_s)
