"""Uploads on the disk."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ullage.errors import NotFound, TooLarge
from ullage.store import ObjectFolder


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def parts(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


async def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    folder = ObjectFolder(tmp_path)
    stored = await folder.put(parts(b"abc", b"def"), limit_bytes=6, name="../../etc/passwd")
    assert stored.sha256 == hashlib.sha256(b"abcdef").hexdigest()
    assert stored.path.read_bytes() == b"abcdef"
    assert stored.size_bytes == 6
    again = await folder.put(parts(b"abcdef"), limit_bytes=6, name="b")
    assert again == stored
    assert files_in(tmp_path) == [stored.path]
    folder.remove(stored.sha256)
    folder.remove(stored.sha256)
    assert not stored.path.exists()


async def test_too_large_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="big has more than 3 bytes"):
        await ObjectFolder(tmp_path).put(parts(b"abc", b"d"), limit_bytes=3, name="big")
    assert files_in(tmp_path) == []


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    (tmp_path / "upload-xyz").write_bytes(b"half")
    ObjectFolder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_a_hash_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        ObjectFolder(tmp_path).path("../" * 20 + "aaaa")
