"""Uploaded files until they are ingested: a folder of files named by their own SHA-256."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ullage.errors import NotFound, TooLarge


@dataclass(frozen=True, slots=True)
class StoredObject:
    """`path` never holds anything of the uploader's file name."""

    sha256: str
    size_bytes: int
    path: Path


class ObjectFolder:
    """A file is there completely or not at all, and it is on the disk before `put` returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left_over in folder.glob("upload-*"):
            left_over.unlink(missing_ok=True)

    async def put(self, parts: AsyncIterator[bytes], *, limit_bytes: int, name: str) -> StoredObject:
        """Raises TooLarge over `limit_bytes`; `name` is only for that message."""
        digest = hashlib.sha256()
        size = 0
        with self._scratch() as (stream, scratch):
            async for part in parts:
                size += len(part)
                if size > limit_bytes:
                    raise TooLarge(f"{name} has more than {limit_bytes} bytes: split it or raise max_upload")
                digest.update(part)
                stream.write(part)
            stream.flush()
            os.fsync(stream.fileno())
            target = self.path(digest.hexdigest())
            target.parent.mkdir(exist_ok=True)
            scratch.replace(target)
            _sync_folder(target.parent)
        return StoredObject(digest.hexdigest(), size, target)

    def path(self, sha256: str) -> Path:
        if len(sha256) != 64 or not all(letter in "0123456789abcdef" for letter in sha256):
            raise NotFound(f"{sha256[:80]!r} is not the SHA-256 of a stored file")
        return self._folder / sha256[:2] / sha256

    def remove(self, sha256: str) -> None:
        self.path(sha256).unlink(missing_ok=True)

    @contextmanager
    def _scratch(self) -> Iterator[tuple[IO[bytes], Path]]:
        handle, name = tempfile.mkstemp(prefix="upload-", dir=self._folder)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream, path
        finally:
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """A rename is durable only when the folder is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
