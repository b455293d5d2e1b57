"""An engine that computes nothing heavy: a row's numbers depend on that row's ids alone. For tests above the waist."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from ullage.engines.base import Batch, Output, Usage
from ullage.errors import OutOfMemory


class DummyEngine:
    """Pooled "vectors" are a fixed random projection of the bag of ids.

    `fail` is called with each batch before it runs and may raise; `tokens_per_s` makes time pass.
    """

    def __init__(
        self,
        width: int = 8,
        *,
        token_vectors: bool = False,
        max_tokens: int = 1 << 30,
        tokens_per_s: float | None = None,
        fail: Callable[[Batch], None] | None = None,
    ) -> None:
        self.width = width
        self.batches: list[list[int]] = []
        self.loaded = False
        self.released = 0
        self._token_vectors = token_vectors
        self._max_tokens = max_tokens
        self._tokens_per_s = tokens_per_s
        self._fail = fail
        self._table = np.random.default_rng(7).standard_normal((1024, width)).astype(np.float32)

    def load(self) -> None:
        self.loaded = True

    def run(self, batch: Batch) -> Output:
        if batch.tokens > self._max_tokens:
            raise OutOfMemory(f"{batch.tokens} tokens in one batch; this engine holds {self._max_tokens}")
        if self._fail is not None:
            self._fail(batch)
        if self._tokens_per_s is not None:
            time.sleep(batch.tokens / self._tokens_per_s)
        lengths = np.diff(batch.cumulative_lengths)
        self.batches.append([int(n) for n in lengths])
        tokens = self._table[batch.input_ids % len(self._table)]
        rows = np.stack([tokens[batch.row(i)].mean(axis=0) for i in range(batch.rows)])
        return Output(rows=rows, tokens=tokens if self._token_vectors else None)

    def release(self) -> None:
        self.released += 1

    def usage(self) -> Usage | None:
        return None

    def close(self) -> None:
        self.loaded = False
