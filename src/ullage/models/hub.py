"""A checkpoint of a model hub: fetched once, verified against the hub's own hashes, and pinned by a lock file.

Fetched are config, tokenizer, the small files of sentence-transformers and safetensors, nothing else: no code and no
pickle ever reaches the disk. `huggingface_hub` says where the hub is and who we are; the bytes are read here, so that a
cut connection goes on where it stopped and every fault is one line.

In the cache: `hub/ORG--NAME/COMMIT/` holds the files, `hub/ORG--NAME/locks/REVISION.json` the commit and the SHA-256
of each. Later starts read the lock and never ask the network.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ullage.errors import ModelCorrupt, ModelError, ModelNotFound, ModelUnsupported
from ullage.models.card import Card, HubRepository
from ullage.models.checkpoint import INDEX, SHARD, WEIGHTS
from ullage.models.transfer import Progress, fetch_file
from ullage.version import __version__

if TYPE_CHECKING:
    import httpx

SMALL = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "modules.json",
    "sentence_bert_config.json", "config_sentence_transformers.json", INDEX,
)  # fmt: skip
POOLING = re.compile(r"\d_Pooling/config\.json")
COMMIT = re.compile(r"[0-9a-f]{40}")
ANSWER_BYTES = 16 << 20
"""More than any repository's list of files takes."""

TIMEOUT_S, CONNECT_S = 60.0, 20.0


@dataclass(frozen=True, slots=True)
class Remote:
    """One file as the hub lists it: a SHA-256 for large files, the git blob id for the others."""

    path: str
    size: int
    sha256: str = ""
    blob: str = ""


@dataclass(frozen=True, slots=True)
class Locked:
    """One file as it was pulled."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Lock:
    """What a revision meant when it was pulled, and the files it had."""

    repo: str
    revision: str
    commit: str
    files: tuple[Locked, ...]


def pull_hub(card: Card, cache_dir: Path, progress: Progress | None = None) -> Path:
    """Fetch what is missing of a card's checkpoint, verify all of it and write the lock. The folder is returned.

    Raises ModelNotFound, ModelCorrupt or ModelUnsupported, one line each; what was fetched until then is kept.
    """
    import httpx  # every server's start would pay for it, and hardly one fetches

    source = _hub(card)
    home = _home(source, cache_dir)
    timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _alone(home), httpx.Client(timeout=timeout, follow_redirects=True, headers=_headers()) as client:
            commit, remotes = _listing(client, source)
            folder = home / commit
            _assert_room(home, folder, remotes)
            locked = tuple(_fetched(client, source, commit, remote, folder, progress) for remote in remotes)
            _write_lock(home, Lock(source.repo, source.revision, commit, locked))
            _forget_unlocked(home)
    except httpx.HTTPError as error:
        said = str(error) or type(error).__name__
        raise ModelNotFound(f"cannot fetch {source.repo}@{source.revision} from {_endpoint()}: {said}") from None
    except OSError as error:
        raise disk_fault(error, home) from None
    return folder


def locate_hub(card: Card, cache_dir: Path) -> Path:
    """The folder of a pulled checkpoint, every file compared with the lock.

    Raises ModelNotFound with the command that fetches, or ModelCorrupt.
    """
    source = _hub(card)
    lock = read_lock(card, cache_dir)
    if lock is None:
        raise ModelNotFound(f"{card.name} is not in {cache_dir}: run `ullage models pull {_as_pulled(card)}`")
    folder = _home(source, cache_dir) / lock.commit
    for file in lock.files:
        _verify(folder / file.path, file, card)
    return folder


def missing_files(card: Card, cache_dir: Path) -> list[str]:
    """Paths of a card's checkpoint that are not here in their full size; all hashes are left to `locate_hub`."""
    lock = read_lock(card, cache_dir)
    if lock is None:
        return ["config.json"]
    folder = _home(_hub(card), cache_dir) / lock.commit
    return [file.path for file in lock.files
            if not (folder / file.path).is_file() or (folder / file.path).stat().st_size != file.size]


def read_lock(card: Card, cache_dir: Path) -> Lock | None:
    """What was pulled for a card's revision; None when nothing was. Raises ModelCorrupt."""
    source = _hub(card)
    path = _lock_path(_home(source, cache_dir), source.revision)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(Locked(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in found["files"])
        lock = Lock(str(found["repo"]), str(found["revision"]), str(found["commit"]), files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(f"{path} is not a lock file ({error!r}): delete it and pull again") from None
    if not COMMIT.fullmatch(lock.commit) or not all(_is_wanted(file.path) for file in files):
        raise ModelCorrupt(f"{path} names files that no pull writes: delete it and pull again")
    return lock


def remove_hub(source: HubRepository, cache_dir: Path) -> int:
    """Delete a repository's checkpoints and what is left of its pulls; the bytes that came free."""
    home = _home(source, cache_dir)
    if not home.is_dir():
        return 0
    freed = sum(path.stat().st_size for path in home.rglob("*") if path.is_file() and not path.is_symlink())
    try:
        shutil.rmtree(home)
    except OSError as error:
        raise ModelNotFound(f"cannot delete {home}: {error.strerror or error}") from None
    return freed


def _hub(card: Card) -> HubRepository:
    if card.not_servable:
        raise ModelUnsupported(f"{card.name} cannot be served: {card.not_servable}")
    if card.hub is None:
        setting = f"{card.role}_model"
        raise ModelNotFound(f"{card.name} is on no public hub: get its checkpoint from its publisher and set {setting} "
                            "to the folder")
    return card.hub


def _as_pulled(card: Card) -> str:
    """The name that `pull` wants for this card and revision."""
    revision = _hub(card).revision
    return card.name if revision == "main" else f"{card.name}@{revision}"


def _home(source: HubRepository, cache_dir: Path) -> Path:
    return cache_dir / "hub" / source.repo.replace("/", "--")


def _lock_path(home: Path, revision: str) -> Path:
    return home / "locks" / f"{quote(revision, safe='')}.json"


def _endpoint() -> str:
    from huggingface_hub import constants

    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


def _headers() -> dict[str, str]:
    """Who we are to the hub, with the operator's token if there is one."""
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        raise ModelNotFound("HF_HUB_OFFLINE is set: nothing is fetched from a hub; unset it to pull")
    token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
    signed = {"authorization": f"Bearer {token}"} if token else {}
    return {"user-agent": f"ullage/{__version__}", "accept-encoding": "identity"} | signed


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One pull of a repository at a time on this machine; a second one waits."""
    with (home / "pull.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _listing(client: httpx.Client, source: HubRepository) -> tuple[str, tuple[Remote, ...]]:
    """The commit of a revision and those of its files that are fetched, small ones first."""
    url = f"{_endpoint()}/api/models/{source.repo}/revision/{quote(source.revision, safe='')}?blobs=true"
    with client.stream("GET", url) as response:
        _assert_answered(response, source)
        body = b""
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > ANSWER_BYTES:
                raise ModelCorrupt(f"{url} answered more than {ANSWER_BYTES} bytes for a list of files")
    try:
        found = json.loads(body)
        commit = str(found["sha"])
        remotes = [_remote(entry) for entry in found["siblings"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(f"{url} did not answer with a repository's files: {error!r}") from None
    if not COMMIT.fullmatch(commit):
        raise ModelCorrupt(f"{url} names a commit {commit!r}: 40 hexadecimal digits are wanted")
    return commit, _chosen(remotes, source)


def _remote(entry: dict[str, Any]) -> Remote:
    lfs = entry.get("lfs") or {}
    size = int(lfs.get("size", entry.get("size") or 0))
    return Remote(str(entry["rfilename"]), size, str(lfs.get("sha256") or ""), str(entry.get("blobId") or ""))


def _chosen(remotes: list[Remote], source: HubRepository) -> tuple[Remote, ...]:
    names = {remote.path for remote in remotes}
    whole = WEIGHTS in names
    chosen = [remote for remote in remotes
              if _is_wanted(remote.path) and not (whole and (SHARD.fullmatch(remote.path) or remote.path == INDEX))]
    held = {remote.path for remote in chosen}
    for needed in ("config.json", "tokenizer.json"):
        if needed not in held:
            raise ModelUnsupported(f"{source.repo}@{source.revision} has no {needed}: it is not a checkpoint we serve")
    if not whole and not any(SHARD.fullmatch(path) for path in held):
        raise ModelUnsupported(f"{source.repo}@{source.revision} has no safetensors, and other forms of weights can "
                               "run code: convert it, and give the folder")
    return tuple(sorted(chosen, key=lambda remote: (remote.size, remote.path)))


def _is_wanted(path: str) -> bool:
    return path in SMALL or path == WEIGHTS or bool(SHARD.fullmatch(path) or POOLING.fullmatch(path))


def _assert_answered(response: httpx.Response, source: HubRepository) -> None:
    code = response.status_code
    if code == 200:
        return
    what = f"{source.repo}@{source.revision}"
    if code in (401, 403):
        raise ModelNotFound(f"the hub does not give {what} to us (HTTP {code}): accept its terms on its page and set "
                            "HF_TOKEN to a token that may read it")
    if code == 404:
        raise ModelNotFound(f"the hub at {_endpoint()} has no {what} (HTTP 404)")
    raise ModelNotFound(f"the hub at {_endpoint()} answered HTTP {code} for {what}: try again later")


def _assert_room(home: Path, folder: Path, remotes: tuple[Remote, ...]) -> None:
    """Refuse before the first byte what the disk cannot hold."""
    needed = sum(remote.size - _present(folder, remote) for remote in remotes)
    free = shutil.disk_usage(home).free
    if needed > free:
        raise ModelNotFound(f"{home} has {free} bytes free, {needed} more are needed: free some, or set cache_dir to "
                            "another disk")


def _present(folder: Path, remote: Remote) -> int:
    for path in (folder / remote.path, _part(folder, remote.path)):
        if path.is_file():
            return min(path.stat().st_size, remote.size)
    return 0


def _part(folder: Path, path: str) -> Path:
    return folder / f"{path}.part"


def _fetched(
    client: httpx.Client, source: HubRepository, commit: str, remote: Remote, folder: Path, progress: Progress | None
) -> Locked:
    """One file, verified, in its place."""
    target = folder / remote.path
    if target.is_file() and target.stat().st_size == remote.size:
        digests = _digests(target)
        if _agrees(remote, digests):
            if progress is not None:
                progress(remote.path, remote.size, remote.size)
            return Locked(remote.path, remote.size, digests[0])
    target.parent.mkdir(parents=True, exist_ok=True)
    part = _part(folder, remote.path)
    url = f"{_endpoint()}/{source.repo}/resolve/{commit}/{quote(remote.path)}"
    fetch_file(client, url, part, remote.size, lambda response: _assert_answered(response, source),
               None if progress is None else lambda done: progress(remote.path, done, remote.size))
    digests = _digests(part)
    if not _agrees(remote, digests):
        part.unlink()
        found, said = (digests[0], remote.sha256) if remote.sha256 else (digests[1], remote.blob)
        raise ModelCorrupt(f"{remote.path} of {source.repo} came with hash {found[:16]}..., the hub says "
                           f"{said[:16]}...: it was deleted; pull again")
    part.replace(target)
    return Locked(remote.path, remote.size, digests[0])


def _digests(path: Path) -> tuple[str, str]:
    """SHA-256, and the id that git gives these bytes."""
    plain = hashlib.sha256()
    blob = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            plain.update(chunk)
            blob.update(chunk)
    return plain.hexdigest(), blob.hexdigest()


def _agrees(remote: Remote, digests: tuple[str, str]) -> bool:
    if remote.sha256:
        return remote.sha256 == digests[0]
    return not remote.blob or remote.blob == digests[1]


def _verify(path: Path, file: Locked, card: Card) -> None:
    remedy = f"run `ullage models pull {_as_pulled(card)}`"
    if not path.is_file():
        raise ModelNotFound(f"{path} of {card.name} is gone: {remedy}")
    size = path.stat().st_size
    if size != file.size:
        raise ModelCorrupt(f"{path} of {card.name} has {size} bytes, its lock says {file.size}: {remedy}")
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.sha256:
        raise ModelCorrupt(f"{path} of {card.name} has SHA-256 {found[:16]}..., its lock says {file.sha256[:16]}...: "
                           f"{remedy}")


def _write_lock(home: Path, lock: Lock) -> None:
    path = _lock_path(home, lock.revision)
    path.parent.mkdir(exist_ok=True)
    whole = {"repo": lock.repo, "revision": lock.revision, "commit": lock.commit,
             "pulled": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
             "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in lock.files]}
    made = path.with_suffix(".new")
    made.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    made.replace(path)


def _forget_unlocked(home: Path) -> None:
    """Delete the commits that no lock names any longer."""
    named = {json.loads(path.read_text(encoding="utf-8")).get("commit") for path in (home / "locks").glob("*.json")}
    for folder in home.iterdir():
        if COMMIT.fullmatch(folder.name) and folder.name not in named:
            shutil.rmtree(folder)


def disk_fault(error: OSError, home: Path) -> ModelError:
    """What the operator reads when the disk refuses."""
    said = error.strerror or str(error)
    return ModelNotFound(f"cannot keep what is fetched in {home}: {said}; put that right and pull again, which goes on "
                         "from there")
