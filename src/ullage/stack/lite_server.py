"""Run as a module: Milvus Lite's own server, after what a kill left half written has been put right.

`python -m ullage.stack.lite_server --data-dir FOLDER ...`, with the arguments of `python -m milvus_lite server`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

FLAT = "*.flat.idx"


def drop_broken_indexes(folder: Path) -> list[Path]:
    """Remove index files that hold less than they say; the server makes them anew from its segments.

    Milvus Lite 3.2 writes them in place. Killed meanwhile it finds one cut off at its next start, and refuses every
    read of that collection: 2 of 23 runs of tests/integration/test_store_server.py under load.
    """
    broken = [path for path in sorted(folder.rglob(FLAT)) if not _whole(path)]
    for path in broken:
        path.unlink()
    return broken


def _whole(path: Path) -> bool:
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        return False
    return True


def main(arguments: list[str]) -> None:
    """Becomes the server: same process, signals and exit code."""
    if "--data-dir" in arguments[:-1]:
        for path in drop_broken_indexes(Path(arguments[arguments.index("--data-dir") + 1])):
            print(f"vectors: {path} was cut off by a kill, and is made anew", file=sys.stderr, flush=True)
    os.execv(sys.executable, [sys.executable, "-m", "milvus_lite", "server", *arguments])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
