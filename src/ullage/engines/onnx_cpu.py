"""Encoders on the CPU, by ONNX Runtime, inside a stated number of bytes.

Every engine owns a memory arena that takes what a run asks for and no more; `arena_bytes` is a hard bound on it. It
holds activations; weights stand outside and do not grow. A run that would pass the bound raises OutOfMemory and
leaves the session as it was.

Dynamically quantised graphs take one scale over the whole activation tensor, by which rows would see each other: int8
runs row by row.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Unpack

import numpy as np
import numpy.typing as npt

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read at import: on Linux the library would write and send usage events
import onnxruntime as ort

from ullage.engines.arena import FATAL, creating, out_of_arena, register_arena
from ullage.engines.base import Float32
from ullage.engines.graph import Graph, read_graph
from ullage.engines.padded import PADDING_LIMIT, Asked, PaddedEngine, Pooling
from ullage.engines.padded import one_line as _one_line
from ullage.engines.trim import trim_memory
from ullage.errors import EngineFailed, ModelCorrupt, ModelUnsupported, OutOfMemory, UllageError

__all__ = ["PADDING_LIMIT", "OnnxCpuEngine", "Pooling", "trim_memory"]


class OnnxCpuEngine(PaddedEngine):
    """One encoder, see PaddedEngine. `arena_bytes` bounds a run's activations, None does not.

    With a bound, `packed_bytes` is the size of the fp32 weight matrices, which the library packs into the same arena;
    0 keeps it from packing them, at 2 ms a run.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        arena_bytes: int | None = None,
        packed_bytes: int = 0,
        **asked: Unpack[Asked],
    ) -> None:
        super().__init__(model, one_at_a_time=asked["precision"] == "int8", **asked)
        self._arena_bytes = arena_bytes
        self._packed_bytes = packed_bytes
        self._session: ort.InferenceSession | None = None

    def _open(self) -> Graph:
        self._session = self._create()
        return read_graph(self._session.get_inputs(), self._session.get_outputs(), self._name, self._pooling,
                          self._token_vectors)

    def _shut(self) -> None:
        self._session = None
        gc.collect()
        # The last arena registered is kept alive by the library: put an empty one in its place.
        with creating:
            register_arena(None)

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
        with creating:
            register_arena(None if self._arena_bytes is None else self._arena_bytes + self._packed_bytes)
            try:
                return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # the library's errors share no base class but this
                raise self._load_error(error) from None

    def _load_error(self, error: Exception) -> UllageError:
        said = _one_line(error)
        if out_of_arena(said):
            return OutOfMemory(f"{self._name} cannot be read within {self._bound}")
        if "not a registered function" in said or "NOT_IMPLEMENTED" in said:
            return ModelUnsupported(f"{self._name} uses an operator that ONNX Runtime does not bring: {said}")
        return ModelCorrupt(f"{self._name} is not a readable ONNX model: {said}")

    @property
    def _bound(self) -> str:
        return "memory" if self._arena_bytes is None else f"the arena of {self._arena_bytes >> 20} MiB"

    def _infer(
        self, outputs: list[str], feed: dict[str, npt.NDArray[np.int64]], shape: tuple[int, ...]
    ) -> list[Float32]:
        assert self._session is not None
        try:
            return [np.asarray(out, np.float32) for out in self._session.run(outputs, feed)]
        except MemoryError:
            raise OutOfMemory(f"{shape[0]} rows of {shape[1]} tokens do not fit in {self._bound}") from None
        except Exception as error:  # the library's errors share no base class but this
            said = _one_line(error)
            if out_of_arena(said):
                raise OutOfMemory(f"{shape[0]} rows of {shape[1]} tokens do not fit in {self._bound}") from None
            raise EngineFailed(f"{self._name} failed on {shape[0]} rows of {shape[1]} tokens: {said}") from None
