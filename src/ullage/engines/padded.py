"""What engines that run an ONNX graph share: rows of nearly one length together, padded, then pooled.

Rows of one run are padded to the longest of them, so only rows of nearly the same length run together, and never
more padded tokens at once than the envelope was measured with. A library behind it is a subclass of four methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from ullage.engines.base import Batch, Float32, Output, Usage
from ullage.engines.graph import Graph
from ullage.engines.trim import trim_memory
from ullage.errors import EngineFailed, UllageError

Pooling = Literal["mean", "cls", "none"]

PADDING_LIMIT = 0.1
"""Share of a group's shortest row that padding may add to it."""


class Asked(TypedDict):
    """What every such engine is asked for.

    `pooling` "none" returns `logits`; "mean" and "cls" pool the token vectors in fp32, or take the graph's own
    pooled output where it has no token vectors. `token_vectors` also returns them, before normalisation.
    `precision` is fp32, bf16 or int8, for graphs whose weights are stored so. `max_sequence` and `max_batch_tokens` are
    the largest shape of a run.
    """

    pooling: Pooling
    normalize: bool
    token_vectors: bool
    precision: str
    max_sequence: int
    max_batch_tokens: int
    threads: int


class PaddedEngine(ABC):
    """One encoder. `model` is a file, or the bytes of one that keeps nothing outside itself. `one_at_a_time` runs each
    row alone."""

    def __init__(self, model: bytes | Path, *, one_at_a_time: bool, **asked: Unpack[Asked]) -> None:
        self._model = model
        self._pooling: Pooling = asked["pooling"]
        self._normalize = asked["normalize"]
        self._token_vectors = asked["token_vectors"]
        self._precision = asked["precision"]
        self._threads = asked["threads"]
        self._row_by_row = one_at_a_time
        self._max_sequence = asked["max_sequence"]
        self._max_batch_tokens = max(asked["max_batch_tokens"], self._max_sequence)
        self._vectors: Float32 | None = None
        self._graph: Graph | None = None

    @abstractmethod
    def _open(self) -> Graph:
        """Read the graph. Raises ModelCorrupt, ModelUnsupported or OutOfMemory."""

    @abstractmethod
    def _infer(self, outputs: list[str], feed: dict[str, npt.NDArray[np.int64]], shape: tuple[int, ...]
               ) -> list[Float32]:
        """The named outputs. Raises OutOfMemory or EngineFailed; the engine stays usable after both."""

    @abstractmethod
    def _shut(self) -> None:
        """Let go of the graph. Idempotent."""

    def load(self) -> None:
        """Read the graph and run its largest shapes.

        Raises ModelCorrupt, ModelUnsupported (the graph is not an encoder's) or OutOfMemory.
        """
        try:
            self._graph = self._open()
            trim_memory()
            for rows, length in self._largest_shapes():
                _, vectors = self._forward(np.zeros((rows, length), np.int64), np.full(rows, length))
                if vectors is not None and self._vectors is None:
                    # Ones, not zeros: pages of zeros are not taken until they are written.
                    self._vectors = np.ones((self._max_batch_tokens, vectors.shape[-1]), np.float32)
        except UllageError:
            self.close()
            raise

    def run(self, batch: Batch) -> Output:
        """Score a batch of any size; what is in memory at once stays within the largest shape.

        Raises OutOfMemory or EngineFailed; the engine stays usable after both.
        """
        lengths = np.diff(batch.cumulative_lengths)
        rows: list[Float32 | None] = [None] * batch.rows
        tokens: Float32 | None = None
        for group in self._groups(lengths):
            pooled, vectors = self._forward(*self._pad(batch, group, lengths))
            for position, index in enumerate(group):
                rows[index] = pooled[position]
                if vectors is not None:
                    if tokens is None:
                        tokens = self._room(batch.tokens, vectors.shape[-1])
                    tokens[batch.row(index)] = vectors[position, : lengths[index]]
        stacked = np.stack([row for row in rows if row is not None])
        if not np.isfinite(stacked).all():
            raise EngineFailed(f"{self._name} gave a number that is not finite for a row of this batch")
        return Output(rows=_unit(stacked) if self._normalize else stacked, tokens=tokens)

    def _room(self, tokens: int, width: int) -> Float32:
        """[tokens, width] to write token vectors into: the memory taken at load, or fresh for a larger batch."""
        if self._vectors is not None and tokens <= len(self._vectors):
            return self._vectors[:tokens]
        return np.empty((tokens, width), np.float32)

    def release(self) -> None:
        trim_memory()

    def usage(self) -> Usage | None:
        """The process has no finer figure than its resident set."""
        return None

    def close(self) -> None:
        self._graph = self._vectors = None
        self._shut()
        trim_memory()

    @property
    def _name(self) -> str:
        return "the model" if isinstance(self._model, bytes) else str(self._model)

    def _largest_shapes(self) -> list[tuple[int, int]]:
        """(rows, length) of the runs that take most, by token vectors and by attention scores."""
        length = self._max_sequence
        if self._one_at_a_time:
            return [(1, length)]
        full = self._max_batch_tokens // length
        shapes = [(full, length)]
        if self._max_batch_tokens % length:
            shapes.append((full + 1, self._max_batch_tokens // (full + 1)))
        return shapes

    @property
    def _one_at_a_time(self) -> bool:
        return self._row_by_row or (self._graph is not None and self._graph.single_row)

    def _padded(self, length: int) -> int:
        """Tokens that a row of `length` is run with at least."""
        return length

    def _groups(self, lengths: npt.NDArray[np.int32]) -> list[list[int]]:
        """Row indices that run together, the longest first: of nearly one length, within the envelope once padded."""
        order = [int(i) for i in np.argsort(-lengths, kind="stable")]
        if self._one_at_a_time:
            return [[index] for index in order]
        groups: list[list[int]] = []
        for index in order:
            longest = self._padded(int(lengths[groups[-1][0]])) if groups else 0
            similar = groups and longest <= max(self._padded(int(lengths[index])), lengths[index] * (1 + PADDING_LIMIT))
            if similar and (len(groups[-1]) + 1) * longest <= self._max_batch_tokens:
                groups[-1].append(index)
            else:
                groups.append([index])
        return groups

    def _pad(
        self, batch: Batch, group: list[int], lengths: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids [rows, longest], lengths [rows] and token types [rows, longest] of a group, padded at the end with 0."""
        shape = (len(group), self._padded(int(lengths[group[0]])))
        ids, types = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        for position, index in enumerate(group):
            ids[position, : lengths[index]] = batch.input_ids[batch.row(index)]
            types[position, : lengths[index]] = batch.token_types[batch.row(index)]
        return ids, lengths[group], types

    def _forward(
        self,
        ids: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int_] | npt.NDArray[np.int32],
        types: npt.NDArray[np.int64] | None = None,
    ) -> tuple[Float32, Float32 | None]:
        """Pooled rows [rows, width] and, if asked for, token vectors [rows, longest, hidden]."""
        if self._graph is None:
            raise EngineFailed("the engine is not loaded")
        graph = self._graph
        places = np.arange(ids.shape[1])
        everything = {
            "input_ids": ids,
            "attention_mask": (places < lengths[:, None]).astype(np.int64),
            "token_type_ids": np.zeros_like(ids) if types is None else types,
            "position_ids": np.broadcast_to(places, ids.shape).astype(np.int64),
        }
        feed = {name: everything[name].astype(kind, copy=False) for name, kind in graph.inputs.items()}
        found = dict(zip(graph.outputs, self._infer(graph.outputs, feed, ids.shape), strict=True))
        vectors = found.get(graph.vectors) if graph.vectors else None
        pooled = found[graph.pooled] if graph.pooled else _pool(vectors, lengths, self._pooling)
        return np.asarray(pooled, np.float32), vectors if self._token_vectors else None


def _pool(vectors: Float32 | None, lengths: npt.NDArray[np.int_] | npt.NDArray[np.int32], pooling: Pooling) -> Float32:
    """[rows, longest, hidden] -> [rows, hidden], over real tokens only."""
    assert vectors is not None
    if pooling == "cls":
        return vectors[:, 0].copy()
    return np.stack([row[:n].mean(axis=0, dtype=np.float32) for row, n in zip(vectors, lengths, strict=True)])


def _unit(rows: Float32) -> Float32:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), np.float32)


def one_line(error: Exception) -> str:
    """A library's message as one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]
