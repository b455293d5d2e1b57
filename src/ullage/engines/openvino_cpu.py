"""Encoders on the CPU, by OpenVINO: fp32, bf16, or int8 weights with int8 activations.

int8 takes one scale for each token (and for each stretch of `group` numbers of it) while it runs, so rows do not see
each other, whoever they share a batch with. What is not a matrix product runs in bf16 there where the CPU has it.

The library makes kernels for every shape it meets and keeps them. So that they stay few, lengths are rounded up a
little and rows run in powers of two; the number kept is bounded. It has no arena to bound: what a run takes is known
by formula, and a run over the bound is refused before it begins.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import openvino

from ullage.engines.base import Float32
from ullage.engines.graph import Graph, read_graph
from ullage.engines.openvino_kept import keep, kept_file, read_kept
from ullage.engines.padded import Asked, PaddedEngine, one_line
from ullage.errors import EngineFailed, ModelCorrupt, ModelUnsupported, OutOfMemory, UllageError

KERNELS_KEPT = 128
"""Shapes whose kernels are kept. Of random lengths, 128 hold 60 to 90 MiB; unbounded they grew to 700."""

STEPS = ((64, 8), (256, 16), (1 << 30, 32))
"""(up to this length, rounded up to a multiple of that): 5 % of padding on average, 28 lengths up to 512."""

TYPES = {"i64": "tensor(int64)", "i32": "tensor(int32)", "f32": "tensor(float)", "f16": "tensor(float16)"}

_compiled: weakref.WeakValueDictionary[tuple[object, ...], _Compiled] = weakref.WeakValueDictionary()
_compiling = threading.Lock()
"""Instances of one model compile it once and share its weights."""


class OpenVinoEngine(PaddedEngine):
    """One encoder, see PaddedEngine.

    `group` is how many numbers of a token share a scale (int8): it divides the width of every matrix product.
    `cost_bytes` tells what a run of (rows, length) takes; over `limit_bytes` it raises OutOfMemory, None does not.
    `instances` engines made with the same arguments share weights; each has `threads` of its own.
    `cache_dir` is where what was compiled is kept for the next start; None keeps nothing.
    """

    def __init__(
        self,
        model: bytes | Path,
        *,
        group: int = 0,
        instances: int = 1,
        cost_bytes: Callable[[int, int], int] | None = None,
        limit_bytes: int | None = None,
        cache_dir: Path | None = None,
        **asked: Unpack[Asked],
    ) -> None:
        super().__init__(model, one_at_a_time=False, **asked)
        self._instances = instances
        self._group = group if self._precision == "int8" else 0
        self._cost_bytes = cost_bytes
        self._limit_bytes = limit_bytes
        self._cache_dir = cache_dir
        self._shared: _Compiled | None = None
        self._request: Any = None

    def _open(self) -> Graph:
        self._shared = self._compile()
        model = self._shared.model
        self._request = model.create_infer_request()
        taken, given = ([_declared(port) for port in ports] for ports in (model.inputs, model.outputs))
        return read_graph(taken, given, self._name, self._pooling, self._token_vectors)

    def _shut(self) -> None:
        self._request = self._shared = None
        gc.collect()

    def _compile(self) -> _Compiled:
        key = (self._model, self._precision, self._group, self._threads, self._instances)
        with _compiling:
            known = _compiled.get(key)
            if known is None:
                known = _compiled[key] = _Compiled(self._read_or_compile())
            return known

    def _read_or_compile(self) -> Any:
        core = openvino.Core()
        options = {
            "INFERENCE_PRECISION_HINT": self._hint(core),
            "NUM_STREAMS": self._instances,
            "INFERENCE_NUM_THREADS": self._threads * self._instances,
            "ENABLE_CPU_PINNING": False,  # services share the cores, and each would pin itself to the first
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": self._group,
            "CPU_RUNTIME_CACHE_CAPACITY": KERNELS_KEPT,
        }
        file = None
        if self._cache_dir is not None and isinstance(self._model, Path):
            file = kept_file(self._cache_dir, self._model, core, options)
        compiled = None if file is None else read_kept(core, file, options)
        if compiled is None:
            compiled = self._read_and_compile(core, options)
            if file is not None:
                keep(compiled, file)
        return compiled

    def _read_and_compile(self, core: Any, options: dict[str, object]) -> Any:
        try:
            read = core.read_model(self._model if isinstance(self._model, bytes) else str(self._model))
        except RuntimeError as error:
            raise self._read_error(error) from None
        try:
            return core.compile_model(read, "CPU", options)
        except RuntimeError as error:
            raise self._run_error(error, "cannot be compiled") from None

    def _hint(self, core: Any) -> str:
        """What all but int8 products are computed in."""
        has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if self._precision == "bf16" and not has_bf16:
            raise ModelUnsupported(f"{self._name} in bf16 needs a CPU with avx512_bf16 or amx_bf16: take fp32 or int8")
        return "bf16" if has_bf16 and self._precision != "fp32" else "f32"

    def _read_error(self, error: Exception) -> UllageError:
        said = one_line(error)
        if "not supported" in said or "No conversion rule" in said:
            return ModelUnsupported(f"{self._name} uses an operator that OpenVINO does not bring: {said}")
        return ModelCorrupt(f"{self._name} is not a readable ONNX model: {said}")

    def _run_error(self, error: Exception, what: str) -> UllageError:
        said = one_line(error)
        if "bad_alloc" in said or "llocat" in said:
            return OutOfMemory(f"{self._name} {what} within memory")
        return EngineFailed(f"{self._name} {what}: {said}")

    def _padded(self, length: int) -> int:
        step = next(step for limit, step in STEPS if length <= limit)
        return min(-(-length // step) * step, max(length, self._max_sequence))

    def _groups(self, lengths: npt.NDArray[np.int32]) -> list[list[int]]:
        """Groups of near lengths in powers of two."""
        pieces: list[list[int]] = []
        for group in super()._groups(lengths):
            begin = 0
            while begin < len(group):
                size = 1 << ((len(group) - begin).bit_length() - 1)
                pieces.append(group[begin : begin + size])
                begin += size
        return pieces

    def _infer(
        self, outputs: list[str], feed: dict[str, npt.NDArray[np.int64]], shape: tuple[int, ...]
    ) -> list[Float32]:
        what = f"{shape[0]} rows of {shape[1]} tokens"
        if shape[1] > self._max_sequence:  # beyond a model's positions the library reads on, and says nothing
            raise EngineFailed(f"{self._name} takes rows of {self._max_sequence} tokens, not {what}")
        if self._cost_bytes and self._limit_bytes is not None and self._cost_bytes(*shape) > self._limit_bytes:
            raise OutOfMemory(f"{what} do not fit in the {self._limit_bytes >> 20} MiB planned for them")
        try:
            self._request.infer({name: np.ascontiguousarray(value) for name, value in feed.items()})
            # Copied: the request writes its next answer into the same memory.
            return [np.array(self._request.get_tensor(name).data, np.float32) for name in outputs]
        except MemoryError:
            raise OutOfMemory(f"{what} do not fit in memory") from None
        except RuntimeError as error:
            raise self._run_error(error, f"failed on {what}") from None


class _Compiled:
    """A compiled model, alive as long as an engine holds it."""

    __slots__ = ("__weakref__", "model")

    def __init__(self, model: Any) -> None:
        self.model = model


@dataclass(slots=True)
class _Port:
    """An input or output as ONNX Runtime would declare it."""

    name: str
    type: str
    shape: list[Any]


def _declared(port: Any) -> _Port:
    kind = port.get_element_type().get_type_name()
    shape = port.get_partial_shape()
    dimensions = [] if shape.rank.is_dynamic else [None if d.is_dynamic else d.get_length() for d in shape]
    return _Port(port.get_any_name(), TYPES.get(kind, kind), dimensions)
