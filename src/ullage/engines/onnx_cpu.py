"""Encoders on the CPU, by ONNX Runtime, inside a stated number of bytes.

Every engine owns a memory arena that takes what a run asks for and no more; `arena_bytes` is a hard bound on it. It
holds activations; weights stand outside and do not grow. A run that would pass the bound raises OutOfMemory and
leaves the session as it was.

Rows of one run are padded to the longest of them, so only rows of nearly the same length run together, and never
more padded tokens at once than the envelope was measured with. Dynamically quantised graphs take one scale over the
whole activation tensor, by which rows would see each other: int8 runs row by row.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import threading
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read at import: on Linux the library would write and send usage events
import onnxruntime as ort

from ullage.engines.base import Batch, Float32, Output, Usage
from ullage.engines.graph import Graph, read_graph
from ullage.errors import EngineFailed, ModelCorrupt, ModelUnsupported, OutOfMemory, UllageError

Pooling = Literal["mean", "cls", "none"]

PADDING_LIMIT = 0.1
"""Share of a group's shortest row that padding may add to it."""

SAME_AS_REQUESTED = 1
DEFAULT = -1
FATAL = 4

_creating = threading.Lock()
"""A session takes the arena that was registered last, so registering and creating must not interleave."""


class OnnxCpuEngine:
    """One encoder. `model` is a file, or the bytes of one that keeps nothing outside itself.

    `pooling` "none" returns `logits`; "mean" and "cls" pool the token vectors in fp32, or take the graph's own
    pooled output where it has no token vectors. `token_vectors` also returns them, before normalisation.
    `max_sequence` and `max_batch_tokens` are the largest shape of a run; `arena_bytes` bounds its activations, None
    does not.
    With a bound, `packed_bytes` is the size of the fp32 weight matrices, which the library packs into the same arena;
    0 keeps it from packing them, at 2 ms a run.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        pooling: Pooling,
        normalize: bool,
        token_vectors: bool,
        precision: str,
        max_sequence: int,
        max_batch_tokens: int,
        threads: int,
        arena_bytes: int | None = None,
        packed_bytes: int = 0,
    ) -> None:
        self._model = model
        self._pooling: Pooling = pooling
        self._normalize = normalize
        self._token_vectors = token_vectors
        self._row_by_row = precision == "int8"
        self._max_sequence = max_sequence
        self._max_batch_tokens = max(max_batch_tokens, max_sequence)
        self._threads = threads
        self._arena_bytes = arena_bytes
        self._packed_bytes = packed_bytes
        self._vectors: Float32 | None = None
        self._session: ort.InferenceSession | None = None
        self._graph: Graph | None = None

    def load(self) -> None:
        """Read the graph and run its largest shapes.

        Raises ModelCorrupt, ModelUnsupported (the graph is not an encoder's) or OutOfMemory.
        """
        try:
            self._session = self._create()
            self._graph = read_graph(self._session, self._name, self._pooling, self._token_vectors)
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
        self._session = self._graph = self._vectors = None
        gc.collect()
        # The last arena registered is kept alive by the library: put an empty one in its place.
        with _creating:
            _register_arena(None)
        trim_memory()

    @property
    def _name(self) -> str:
        return "the model" if isinstance(self._model, bytes) else str(self._model)

    def _create(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # a pattern is planned for each shape seen, and kept
        options.log_severity_level = FATAL  # what goes wrong is raised; it need not be printed too
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._arena_bytes is not None and not self._packed_bytes:
            # Weights packed ahead are counted in the arena, and a bound below their size is silently none at all
            # (the room left is an unsigned difference). Packing in each run costs 2 ms for 10M weights instead.
            options.add_session_config_entry("session.disable_prepacking", "1")
        source = self._model if isinstance(self._model, bytes) else str(self._model)
        with _creating:
            _register_arena(None if self._arena_bytes is None else self._arena_bytes + self._packed_bytes)
            try:
                return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # the library's errors share no base class but this
                raise self._load_error(error) from None

    def _load_error(self, error: Exception) -> UllageError:
        said = _one_line(error)
        if _out_of_arena(said):
            return OutOfMemory(f"{self._name} cannot be read within {self._bound}")
        if "not a registered function" in said or "NOT_IMPLEMENTED" in said:
            return ModelUnsupported(f"{self._name} uses an operator that ONNX Runtime does not bring: {said}")
        return ModelCorrupt(f"{self._name} is not a readable ONNX model: {said}")

    @property
    def _bound(self) -> str:
        return "memory" if self._arena_bytes is None else f"the arena of {self._arena_bytes >> 20} MiB"

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

    def _groups(self, lengths: npt.NDArray[np.int32]) -> list[list[int]]:
        """Row indices that run together: of nearly one length, within the envelope once padded."""
        order = [int(i) for i in np.argsort(-lengths, kind="stable")]
        if self._one_at_a_time:
            return [[index] for index in order]
        groups: list[list[int]] = []
        for index in order:
            longest = int(lengths[groups[-1][0]]) if groups else 0
            similar = groups and longest <= lengths[index] * (1 + PADDING_LIMIT)
            if similar and (len(groups[-1]) + 1) * longest <= self._max_batch_tokens:
                groups[-1].append(index)
            else:
                groups.append([index])
        return groups

    def _pad(
        self, batch: Batch, group: list[int], lengths: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """Ids [rows, longest], lengths [rows] and token types [rows, longest] of a group, padded at the end with 0."""
        shape = (len(group), int(lengths[group[0]]))
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
        if self._session is None or self._graph is None:
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
        found = dict(zip(graph.outputs, self._run_session(graph.outputs, feed, ids.shape), strict=True))
        vectors = found.get(graph.vectors) if graph.vectors else None
        pooled = found[graph.pooled] if graph.pooled else _pool(vectors, lengths, self._pooling)
        return np.asarray(pooled, np.float32), vectors if self._token_vectors else None

    def _run_session(
        self, outputs: list[str], feed: dict[str, npt.NDArray[np.int64]], shape: tuple[int, ...]
    ) -> list[Float32]:
        assert self._session is not None
        try:
            return [np.asarray(out, np.float32) for out in self._session.run(outputs, feed)]
        except MemoryError:
            raise OutOfMemory(f"{shape[0]} rows of {shape[1]} tokens do not fit in {self._bound}") from None
        except Exception as error:  # the library's errors share no base class but this
            said = _one_line(error)
            if _out_of_arena(said):
                raise OutOfMemory(f"{shape[0]} rows of {shape[1]} tokens do not fit in {self._bound}") from None
            raise EngineFailed(f"{self._name} failed on {shape[0]} rows of {shape[1]} tokens: {said}") from None


def _register_arena(bound_bytes: int | None) -> None:
    """The arena of the next session. Sessions made before keep theirs."""
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(info, ort.OrtArenaCfg({
        "max_mem": bound_bytes or 0,
        "arena_extend_strategy": SAME_AS_REQUESTED,
        "initial_chunk_size_bytes": DEFAULT,
        "max_dead_bytes_per_chunk": DEFAULT,
        "initial_growth_chunk_size_bytes": DEFAULT,
    }))


def _pool(vectors: Float32 | None, lengths: npt.NDArray[np.int_] | npt.NDArray[np.int32], pooling: Pooling) -> Float32:
    """[rows, longest, hidden] -> [rows, hidden], over real tokens only."""
    assert vectors is not None
    if pooling == "cls":
        return vectors[:, 0].copy()
    return np.stack([row[:n].mean(axis=0, dtype=np.float32) for row, n in zip(vectors, lengths, strict=True)])


def _unit(rows: Float32) -> Float32:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(norms, 1e-12), np.float32)


def _out_of_arena(said: str) -> bool:
    return "bfc_arena" in said or "bad_alloc" in said or "bad allocation" in said


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def trim_memory() -> None:
    """Hand freed heap pages back to the system; only glibc keeps them and only it can be asked."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
