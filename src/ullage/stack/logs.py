"""Log files of services: written by the services themselves, kept small by their supervisor."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

LOG_BYTES = 10 << 20
"""A log longer than this is moved aside to `.1`, which is replaced; a service's logs take twice this at most."""

TAIL_BYTES = 8192


def bound_log(path: Path, limit_bytes: int = LOG_BYTES) -> None:
    """Move a long log aside. The writer holds it open to append, so it is copied and emptied, not renamed.

    On a full disk it is emptied all the same: the services go on, and need the room.
    """
    if path.exists() and path.stat().st_size > limit_bytes:
        aside = path.with_name(path.name + ".1")
        try:
            shutil.copyfile(path, aside)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
        with path.open("r+b") as log:
            log.truncate(0)


def last_words(path: Path) -> str:
    """The last `error: ...` line, else the last line that says anything."""
    if not path.exists():
        return "its log is gone"
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = [line.strip() for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1]
