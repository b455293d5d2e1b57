"""Uploads on the disk and, through fsspec's memory filesystem, in a store that is somewhere else."""

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ullage.errors import DependencyDown, NotFound, SettingsError, TooLarge
from ullage.store import ObjectFolder, PageFolder
from ullage.store.bucket import Bucket


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def parts(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


async def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    folder = ObjectFolder(tmp_path)
    stored = await folder.put(parts(b"abc", b"def"), limit_bytes=6, name="../../etc/passwd")
    assert stored.sha256 == hashlib.sha256(b"abcdef").hexdigest()
    with folder.as_file(stored.sha256) as path:
        assert path.read_bytes() == b"abcdef"
    assert stored.size_bytes == 6
    again = await folder.put(parts(b"abcdef"), limit_bytes=6, name="b")
    assert again == stored
    assert [path.name for path in files_in(tmp_path)] == [stored.sha256]
    assert folder.hashes() == [stored.sha256]
    folder.release(stored.sha256)
    folder.remove(stored.sha256)
    assert folder.has(stored.sha256), "the second upload is not in the ledger yet"
    folder.release(stored.sha256)
    folder.remove(stored.sha256)
    folder.remove(stored.sha256)
    assert not folder.has(stored.sha256)
    assert files_in(tmp_path) == []


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
        ObjectFolder(tmp_path).has("../" * 20 + "aaaa")


@pytest.fixture
def remote() -> str:
    return f"memory://{uuid.uuid4().hex}/uploads"


async def test_a_remote_store_holds_the_same(remote: str, tmp_path: Path) -> None:
    folder = ObjectFolder(remote, tmp_path)
    stored = await folder.put(parts(b"abc", b"def"), limit_bytes=6, name="a")
    assert files_in(tmp_path) == []
    assert folder.hashes() == [stored.sha256]
    assert ObjectFolder(remote, tmp_path).has(stored.sha256)
    with folder.as_file(stored.sha256) as path:
        assert path.read_bytes() == b"abcdef"
        assert path.parent == tmp_path
    assert files_in(tmp_path) == []
    folder.release(stored.sha256)
    folder.remove(stored.sha256)
    folder.remove(stored.sha256)
    with pytest.raises(NotFound, match="holds no"), folder.as_file(stored.sha256):
        pass
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("where", ["folder", "remote"])
def test_pages_are_kept_for_those_who_are_wanted(where: str, remote: str, tmp_path: Path) -> None:
    pages = PageFolder(tmp_path / "pages" if where == "folder" else remote)
    for letter in "ab":
        for page in (1, 2):
            pages.put(letter * 64, page, letter.encode())
    assert pages.read("a" * 64, 2) == b"a"
    assert pages.hashes() == ["a" * 64, "b" * 64]
    pages.remove("a" * 64)
    with pytest.raises(NotFound):
        pages.read("a" * 64, 2)
    assert pages.read("b" * 64, 1) == b"b"
    pages.remove("c" * 64)


@pytest.mark.parametrize("where", ["folder", "remote"])
def test_a_bucket_of_small_texts(where: str, remote: str, tmp_path: Path) -> None:
    bucket = Bucket(tmp_path / "texts" if where == "folder" else remote)
    bucket.ping()
    assert bucket.names() == []
    bucket.write("c/one", "ü".encode())
    bucket.write("c/one", b"two")
    bucket.write("c/other", b"x")
    assert (bucket.read("c/one"), bucket.names("c")) == (b"two", ["one", "other"])
    bucket.remove_folder("c")
    bucket.remove_folder("c")
    assert bucket.names("c") == []


def test_a_url_nobody_can_reach_is_refused_with_what_to_install() -> None:
    with pytest.raises(SettingsError, match="objects_uri=nosuch://x cannot be used"):
        Bucket("nosuch://x")


def test_a_full_or_broken_disk_is_told_as_such(tmp_path: Path) -> None:
    bucket = Bucket(tmp_path / "texts")
    (tmp_path / "texts" / "folder").mkdir()
    with pytest.raises(DependencyDown, match="does not answer"):
        bucket.read("folder")


def test_what_a_crash_left_goes_once_it_is_old(tmp_path: Path) -> None:
    for name in ("upload-old", "upload-new"):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / "upload-old", (0, 0))
    Bucket(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["upload-new"]
