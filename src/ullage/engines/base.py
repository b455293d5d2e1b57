"""The narrow waist: one flat batch in, one array out.

Rows are laid end to end with no padding; padding is an engine's private matter. Everything above this file
counts tokens and knows neither models nor devices, so every test above it runs on `engines.dummy`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Int32 = npt.NDArray[np.int32]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """`input_ids` and `position_ids` have shape [tokens]; `cumulative_lengths` has shape [rows + 1].

    `token_types` [tokens] is 0 for a query or a lone text and 1 for the second text of a pair.
    """

    input_ids: Int32
    position_ids: Int32
    token_types: Int32
    cumulative_lengths: Int32

    @classmethod
    def lay(cls, rows: Sequence[Row]) -> Batch:
        """Lay `rows` end to end. Raises ValueError for no rows or an empty row."""
        lengths = [len(row.input_ids) for row in rows]
        if not lengths or min(lengths) == 0:
            raise ValueError(f"a batch needs rows of at least one token, got lengths {lengths}")
        ends = np.cumsum([0, *lengths], dtype=np.int32)
        types = np.zeros(ends[-1], np.int32)
        for row, end in zip(rows, ends[1:], strict=True):
            if row.token_types is not None:
                types[end - row.tokens : end] = row.token_types
        ids = np.concatenate([row.input_ids for row in rows]).astype(np.int32, copy=False)
        positions = np.arange(ends[-1], dtype=np.int32) - np.repeat(ends[:-1], lengths)
        return cls(ids, positions, types, ends)

    @property
    def rows(self) -> int:
        return len(self.cumulative_lengths) - 1

    @property
    def tokens(self) -> int:
        return int(self.cumulative_lengths[-1])

    def row(self, index: int) -> slice:
        """The slice of row `index` in every flat array."""
        return slice(int(self.cumulative_lengths[index]), int(self.cumulative_lengths[index + 1]))


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence: `input_ids` [n] int32, and `token_types` [n] or None for all zeros."""

    input_ids: Int32
    token_types: Int32 | None = None

    @property
    def tokens(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class Output:
    """`rows` [rows, width]: logits (width = labels) or pooled vectors, fp32.

    `tokens` [tokens, hidden] fp32, for models that score by their token vectors; else None. They are valid until the
    engine runs again.
    """

    rows: Float32
    tokens: Float32 | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Memory of one engine on its device, in bytes. `limit_bytes` is the hard cap, None where there is none.

    `device` is `cpu` or `cuda:INDEX`; on a GPU the figures are device-wide for this process, context included.
    """

    device: str
    used_bytes: int
    peak_bytes: int
    limit_bytes: int | None = None


class Engine(Protocol):
    """One model on one device. Calls come from one thread at a time, or from as many as its `at_once` says, if any."""

    def load(self) -> None:
        """Take all memory the envelope allows, by running the largest shape once.

        Raises OutOfMemory when it does not fit and ModelError when the files are not what they should be.
        """

    def run(self, batch: Batch) -> Output:
        """Score a batch. The same row gives the same numbers in any batch (1e-4 in fp32).

        Raises OutOfMemory (the engine stays usable) or EngineFailed.
        """

    def release(self) -> None:
        """Give cached memory back after OutOfMemory, so that a smaller batch has room. Never fails."""

    def usage(self) -> Usage | None:
        """What the engine holds now; None when it cannot be told apart from the process."""

    def close(self) -> None:
        """Give the memory back. Idempotent."""
