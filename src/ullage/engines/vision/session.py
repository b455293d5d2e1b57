"""ONNX sessions that share one bounded arena: models that run one after the other take the room of the largest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read at import: on Linux the library would write and send usage events
import onnxruntime as ort

from ullage.engines.arena import FATAL, creating, out_of_arena, register_arena
from ullage.errors import EngineFailed, ModelCorrupt, OutOfMemory, UllageError

Float32 = npt.NDArray[np.float32]


class Session:
    """One model with one input. `about` are the strings that its file carries, such as its alphabet."""

    def __init__(self, name: str, session: ort.InferenceSession, bound: str) -> None:
        self.name = name
        self.about: Mapping[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        self._session = session
        self._input = session.get_inputs()[0].name
        self._bound = bound

    def run(self, values: Float32, *, give_back: bool = False) -> list[Float32]:
        """All outputs. `give_back` hands what the arena holds free back to the system afterwards.

        Raises OutOfMemory (the session stays usable) or EngineFailed.
        """
        options = ort.RunOptions()
        if give_back:
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            return [np.asarray(out, np.float32) for out in self._session.run(None, {self._input: values}, options)]
        except MemoryError:
            raise self._no_room(values) from None
        except Exception as error:  # the library's errors share no base class but this
            said = " ".join(str(error).split())[:300]
            if out_of_arena(said):
                raise self._no_room(values) from None
            raise EngineFailed(f"{self.name} failed on an input of {values.shape}: {said}") from None

    def _no_room(self, values: Float32) -> OutOfMemory:
        return OutOfMemory(f"{self.name}: an input of {values.shape} does not fit in {self._bound}")


def open_sessions(paths: Mapping[str, Path], *, threads: int, arena_bytes: int | None) -> dict[str, Session]:
    """A session for every path, by name. `arena_bytes` bounds what all of them take for activations together.

    Raises ModelCorrupt or OutOfMemory.
    """
    bound = "memory" if arena_bytes is None else f"the arena of {arena_bytes >> 20} MiB"
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # a pattern is planned for each shape seen, and kept
    options.log_severity_level = FATAL  # what goes wrong is raised; it need not be printed too
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Weights packed ahead would be counted in the arena; these models are convolutions, and measured no faster by it.
    options.add_session_config_entry("session.disable_prepacking", "1")
    with creating:
        register_arena(arena_bytes)
        return {name: Session(name, _open(path, options, bound), bound) for name, path in paths.items()}


def _open(path: Path, options: ort.SessionOptions, bound: str) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's errors share no base class but this
        said = " ".join(str(error).split())[:300]
        fault: UllageError = (OutOfMemory(f"{path} cannot be read within {bound}") if out_of_arena(said)
                              else ModelCorrupt(f"{path} is not a readable ONNX model: {said}"))
        raise fault from None


def close_sessions(sessions: dict[str, Session]) -> None:
    """The last arena registered is kept alive by the library: an empty one takes its place."""
    sessions.clear()
    with creating:
        register_arena(None)
