"""Give freed heap pages back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def trim_memory() -> None:
    """Hand freed heap pages back to the system; only glibc keeps them and only it can be asked."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)
