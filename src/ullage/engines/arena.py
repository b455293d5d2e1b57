"""ONNX Runtime's bounded arena: what the library lets one say of it, and the lock that this needs."""

from __future__ import annotations

import os
import threading

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # read at import: on Linux the library would write and send usage events
import onnxruntime as ort

SAME_AS_REQUESTED = 1
DEFAULT = -1
FATAL = 4

creating = threading.Lock()
"""A session takes the arena that was registered last, so registering and creating must not interleave."""


def register_arena(bound_bytes: int | None) -> None:
    """The arena of the next session; hold `creating`. Sessions made before keep theirs.

    The last arena registered is kept alive by the library: register None in its place when its sessions are gone.
    """
    info = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(info, ort.OrtArenaCfg({
        "max_mem": bound_bytes or 0,
        "arena_extend_strategy": SAME_AS_REQUESTED,
        "initial_chunk_size_bytes": DEFAULT,
        "max_dead_bytes_per_chunk": DEFAULT,
        "initial_growth_chunk_size_bytes": DEFAULT,
    }))


def out_of_arena(said: str) -> bool:
    """Whether the library's message says that the arena, or the machine, had no room."""
    return "bfc_arena" in said or "bad_alloc" in said or "bad allocation" in said
