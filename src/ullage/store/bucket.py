"""Files by key, in a local folder or wherever fsspec reaches by URL (`s3://bucket/prefix` with the extra `s3`)."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from ullage.errors import DependencyDown, NotFound, SettingsError

LEFT_OVER_S = 3600


class Bucket:
    """A file is there completely or not at all. `url` is a folder or an fsspec URL.

    Raises SettingsError for a URL that nothing installed can reach, DependencyDown when its server is away.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        try:
            self._files, root = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            said = " ".join(str(error).split())
            raise SettingsError(f"objects_uri={self.url} cannot be used ({said}): give a folder, or install what "
                                "reaches it (`pip install ullage[s3]` for s3://)") from None
        self.root = Path(root)
        self._prefix = str(root).rstrip("/")
        self.local = "file" in _protocols(self._files)
        if self.local:
            self.root.mkdir(parents=True, exist_ok=True)
            _remove_left_overs(self.root)

    def ping(self) -> None:
        """Raises DependencyDown when the store does not answer."""
        with self._faults(""):
            self._files.exists(self._prefix)

    def write(self, key: str, content: bytes, *, durable: bool = True) -> None:
        """`durable`: on the disk before this returns."""
        if self.local:
            with self.scratch() as (stream, path):
                stream.write(content)
                stream.flush()
                if durable:
                    os.fsync(stream.fileno())
                self.take(path, key, durable=durable)
            return
        with self._faults(key):
            self._files.pipe_file(self._place(key), content)

    def take(self, path: Path, key: str, *, durable: bool = True) -> None:
        """Make a local file that is complete and on the disk an object; a local store moves it."""
        if not self.local:
            with self._faults(key):
                self._files.put_file(str(path), self._place(key))
            return
        target = self.root / key
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
        if durable:
            _sync_folder(target.parent)

    def read(self, key: str) -> bytes:
        with self._faults(key):
            return bytes(self._files.cat_file(self._place(key)))

    @contextmanager
    def as_file(self, key: str, scratch: Path) -> Iterator[Path]:
        """A local path to an object's bytes; of a remote one a copy in the folder `scratch` while the block runs."""
        if self.local:
            yield self.root / key
            return
        handle, name = tempfile.mkstemp(prefix="object-", dir=scratch)
        os.close(handle)
        try:
            with self._faults(key):
                self._files.get_file(self._place(key), name)
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def has(self, key: str) -> bool:
        with self._faults(key):
            return bool(self._files.exists(self._place(key)))

    def remove(self, key: str) -> None:
        """One that is not there is removed already."""
        try:
            with self._faults(key):
                self._files.rm_file(self._place(key))
        except NotFound:
            return

    def remove_folder(self, key: str) -> None:
        try:
            with self._faults(key):
                self._files.rm(self._place(key), recursive=True)
        except NotFound:
            return

    def names(self, key: str = "") -> list[str]:
        """Last parts of the keys directly below `key`."""
        try:
            with self._faults(key):
                self._files.invalidate_cache()
                return sorted(str(found).rstrip("/").rsplit("/", 1)[-1]
                              for found in self._files.ls(self._place(key), detail=False))
        except NotFound:
            return []

    @contextmanager
    def scratch(self) -> Iterator[tuple[Any, Path]]:
        """A file of its own beside the objects of a local store, gone at the end unless it was taken."""
        handle, name = tempfile.mkstemp(prefix="upload-", dir=self.root)
        path = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream, path
        finally:
            path.unlink(missing_ok=True)

    def _place(self, key: str) -> str:
        return f"{self._prefix}/{key}" if key else self._prefix

    @contextmanager
    def _faults(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise NotFound(f"the object store {self.url} holds no {key[:120]!r}") from None
        except OSError as error:
            said = " ".join(str(error).split())[:200]
            raise DependencyDown(f"the object store {self.url} does not answer ({said}): check objects_uri, the disk "
                                 "and the store") from None


def _remove_left_overs(folder: Path) -> None:
    """Of writes that a crash cut off; younger ones may be another's that is still writing."""
    for path in folder.glob("upload-*"):
        if time.time() - path.stat().st_mtime > LEFT_OVER_S:
            path.unlink(missing_ok=True)


def _protocols(files: Any) -> tuple[str, ...]:
    named = files.protocol
    return (named,) if isinstance(named, str) else tuple(named)


def _sync_folder(folder: Path) -> None:
    """A rename is durable only when the folder is on the disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
