"""Which files of this machine a caller may send: their paths come from outside, and what they hold can be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ullage.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Files:
    """Those below `folder`. Without one all, if `anywhere` (whoever talks over stdio runs as the same user), else none.
    """

    folder: Path | None = None
    anywhere: bool = False

    def chosen(self, paths: Sequence[str]) -> list[Path]:
        """Relative paths start at the folder. Raises InvalidRequest with every fault; then nothing is to be sent."""
        if self.folder is None and not self.anywhere:
            raise InvalidRequest("file_paths are read on the machine of this server, over HTTP only below mcp_files, "
                                 "which is not set: set it to a folder, or upload over the ingestor's own API")
        found, faults = [], []
        for text in paths:
            try:
                found.append(self._one(text))
            except InvalidRequest as fault:
                faults.append(fault.message)
        if faults:
            raise InvalidRequest("; ".join(faults) + "; nothing was sent")
        return found

    def _one(self, text: str) -> Path:
        try:
            path = ((self.folder or Path()) / text).resolve()
            allowed = self.folder is None or path.is_relative_to(self.folder.resolve())
            # Outside the folder nobody is told what there is.
            there = allowed and path.is_file()
        except (OSError, ValueError, RuntimeError) as error:
            raise InvalidRequest(f"{text[:200]!r} is no path: {error}") from None
        if not allowed:
            raise InvalidRequest(f"{text} is not below mcp_files={self.folder}")
        if not there:
            raise InvalidRequest(f"{text} is not a file on the machine of this server")
        return path
