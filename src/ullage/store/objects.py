"""Uploaded files until they are ingested, named by their own SHA-256, and pictures of their pages."""

from __future__ import annotations

import asyncio
import hashlib
import os
import tempfile
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ullage.errors import NotFound, TooLarge
from ullage.store.bucket import Bucket


@dataclass(frozen=True, slots=True)
class StoredObject:
    sha256: str
    size_bytes: int


class ObjectFolder:
    """A file is there completely or not at all, and it is on the disk, or in the remote store, before `put` returns.

    `where` is a folder or an fsspec URL; uploads to a remote store, and copies to read from, pass through the local
    folder `scratch`. No key ever holds anything of the uploader's file name.
    """

    def __init__(self, where: str | Path, scratch: Path | None = None) -> None:
        self._bucket = Bucket(where)
        self._scratch = scratch or self._bucket.root
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._coming: Counter[str] = Counter()
        self._lock = threading.Lock()
        for left_over in (*self._scratch.glob("upload-*"), *self._scratch.glob("object-*")):
            left_over.unlink(missing_ok=True)

    async def put(self, parts: AsyncIterator[bytes], *, limit_bytes: int, name: str) -> StoredObject:
        """Raises TooLarge over `limit_bytes`; `name` is only for that message.

        Nobody can remove it until `release`: call that once the ledger knows of it.
        """
        digest = hashlib.sha256()
        size = 0
        with self._receiving() as (stream, path):
            async for part in parts:
                size += len(part)
                if size > limit_bytes:
                    raise TooLarge(f"{name} has more than {limit_bytes} bytes: split it or raise max_upload")
                digest.update(part)
                stream.write(part)
            stream.flush()
            await asyncio.to_thread(os.fsync, stream.fileno())
            with self._lock:
                self._coming[digest.hexdigest()] += 1
            try:
                await asyncio.to_thread(self._bucket.take, path, _key(digest.hexdigest()))
            except BaseException:
                self.release(digest.hexdigest())
                raise
        return StoredObject(digest.hexdigest(), size)

    def release(self, sha256: str) -> None:
        with self._lock:
            self._coming[sha256] -= 1
            self._coming += Counter()

    @contextmanager
    def as_file(self, sha256: str) -> Iterator[Path]:
        """A local path to the bytes, good for the block."""
        with self._bucket.as_file(_key(sha256), self._scratch) as path:
            yield path

    def has(self, sha256: str) -> bool:
        return self._bucket.has(_key(sha256))

    def hashes(self) -> list[str]:
        """Of everything that is kept."""
        return [name for folder in self._bucket.names() if len(folder) == 2 for name in self._bucket.names(folder)]

    def remove(self, sha256: str) -> None:
        """Unless the same bytes are coming in just now."""
        with self._lock:
            if not self._coming[sha256]:
                self._bucket.remove(_key(sha256))

    def ping(self) -> None:
        self._bucket.ping()

    @contextmanager
    def _receiving(self) -> Iterator[tuple[IO[bytes], Path]]:
        handle, name = tempfile.mkstemp(prefix="upload-", dir=self._scratch)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream, path
        finally:
            path.unlink(missing_ok=True)


class PageFolder:
    """Thumbnails of pages by the SHA-256 of their file: JPEG files that can be made again."""

    def __init__(self, where: str | Path) -> None:
        self._bucket = Bucket(where)

    def put(self, sha256: str, page: int, jpeg: bytes) -> Path:
        self._bucket.write(_page_key(sha256, page), jpeg, durable=False)
        return self.path(sha256, page)

    def read(self, sha256: str, page: int) -> bytes:
        """Raises NotFound where none was kept."""
        return self._bucket.read(_page_key(sha256, page))

    def path(self, sha256: str, page: int) -> Path:
        """Where it is if it is there, in a local folder; page numbers count from 1."""
        return self._bucket.root / _page_key(sha256, page)

    def remove(self, sha256: str) -> None:
        self._bucket.remove_folder(_key(sha256))

    def hashes(self) -> list[str]:
        """Of every file of which pages are kept."""
        return [name for folder in self._bucket.names() if len(folder) == 2 for name in self._bucket.names(folder)]


def _key(sha256: str) -> str:
    return f"{sha256[:2]}/{_checked(sha256)}"


def _page_key(sha256: str, page: int) -> str:
    return f"{_key(sha256)}/{int(page)}.jpg"


def _checked(sha256: str) -> str:
    if len(sha256) != 64 or not all(letter in "0123456789abcdef" for letter in sha256):
        raise NotFound(f"{sha256[:80]!r} is not the SHA-256 of a stored file")
    return sha256
