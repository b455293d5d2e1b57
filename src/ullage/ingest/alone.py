"""One ingestor at a time works on a state folder: two would ingest every file twice."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from ullage.errors import DependencyDown


class Alone:
    """The kernel gives the lock back when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "in-use"
        self._file: IO[bytes] | None = None

    def take(self) -> None:
        """Raises DependencyDown while another process holds it."""
        file = self._path.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise DependencyDown(f"another ingestor works on {self._path.parent}: stop it, or give this one a "
                                 "state_dir of its own") from None
        self._file = file

    def give_back(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
