"""Pulling from a hub, against a small server of our own that speaks its routes, and misbehaves when told to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from checkpoints import make_checkpoint, make_sentence_encoder
from families import make_llama
from ullage.errors import ModelCorrupt, ModelNotFound, ModelUnsupported
from ullage.models import transfer
from ullage.models.card import Card, HubRepository, find_card
from ullage.models.files import locate, locate_folder, missing, pull, remove
from ullage.models.hub import read_lock

REPO = "tiny/reranker"
COMMIT, LATER = "a" * 40, "b" * 40


class Hub:
    """One repository. `files` are its bytes by path; the rest is how the server misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.commit = COMMIT
        self.cut_after: list[int] = []
        """Bytes of the weights after which each next connection is closed; empty: none is."""
        self.send_instead: dict[str, bytes] = {}
        self.statuses: list[int] = []
        """Answers to the next requests for the weights."""
        self.ignores_range = False
        self.status = 200
        self.asked: list[tuple[str, str]] = []
        self.tokens: list[str] = []

    def listing(self) -> dict[str, Any]:
        return {"sha": self.commit, "siblings": [self._entry(path, content) for path, content in self.files.items()]}

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry: dict[str, Any] = {"rfilename": path, "size": len(content),
                                 "blobId": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}
        if path.endswith(".safetensors"):
            entry["blobId"] = "0" * 40
            entry["lfs"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "pointerSize": 130}
        return entry

    def weights_asked(self) -> list[str]:
        return [asked for path, asked in self.asked if path.endswith(".safetensors")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        hub = self.hub
        hub.tokens.append(self.headers.get("Authorization", ""))
        listed = self.path.startswith(f"/api/models/{REPO}/revision/") and self.path.endswith("?blobs=true")
        head, _, path = self.path.partition(f"/{REPO}/resolve/{hub.commit}/")
        if hub.status != 200:
            self._send(hub.status, b"{}")
        elif listed:
            self._send(200, json.dumps(hub.listing()).encode())
        elif head or path not in hub.files:
            self._send(404, b"{}")
        else:
            self._send_file(path, hub.send_instead.get(path, hub.files[path]))

    def _send_file(self, path: str, content: bytes) -> None:
        hub, asked = self.hub, self.headers.get("Range", "")
        hub.asked.append((path, asked))
        large = path.endswith(".safetensors")
        if large and hub.statuses:
            return self._send(hub.statuses.pop(0), b"")
        first = int(asked.removeprefix("bytes=").partition("-")[0]) if asked and not hub.ignores_range else 0
        extra = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"} if first else {}
        limit = hub.cut_after.pop(0) if large and hub.cut_after else None
        return self._send(206 if first else 200, content[first:], extra, limit)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None, limit: int | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if limit is None else body[:limit])
        if limit is not None:
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """A client that hangs up, which some tests want."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    server = Server(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": made}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr(transfer, "PAUSE_S", 0.0)
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def filled(hub: Hub, folder: Path) -> Hub:
    """What lies in `folder`, and much that must never be fetched."""
    hub.files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for path in ("modeling_evil.py", "pytorch_model.bin", "model.pt", "README.md", "onnx/model.onnx",
                 "2_Dense/config.json", "sub/model.safetensors", "../config.json", "training_args.bin"):
        hub.files[path] = b"never"
    return hub


def card_of(revision: str = "main") -> Card:
    return find_card("BAAI/bge-reranker-base", "ranking").model_copy(update={
        "name": "tiny/reranker", "hub": HubRepository(repo=REPO, revision=revision),
    })


@pytest.fixture
def reranker(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Hub:
    return filled(hub, make_checkpoint(tmp_path_factory.mktemp("published"), labels=1))


def test_a_pull_fetches_verifies_pins_and_is_found(reranker: Hub, tmp_path: Path) -> None:
    cache, seen = tmp_path / "cache", []
    card = card_of()
    assert missing(card, cache)
    paths = pull(card, cache, lambda *step: seen.append(step))
    folder = locate_folder(card, cache)
    assert paths == {"weights": folder / "model.safetensors", "tokenizer": folder / "tokenizer.json"}
    assert locate(card, cache) == paths
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(path.name for path in folder.rglob("*")) == names
    for name in names:
        assert (folder / name).read_bytes() == reranker.files[name]
    size = len(reranker.files["model.safetensors"])
    assert ("model.safetensors", size, size) == [step for step in seen if step[0] == "model.safetensors"][-1]
    assert set(reranker.tokens) == {"Bearer secret"}
    lock = read_lock(card, cache)
    assert lock is not None
    assert (lock.repo, lock.revision, lock.commit) == (REPO, "main", COMMIT)
    assert {(file.path, file.size, file.sha256) for file in lock.files} == {
        (name, len(reranker.files[name]), hashlib.sha256(reranker.files[name]).hexdigest()) for name in names}
    assert not missing(card, cache)


def test_a_start_asks_no_network_and_a_second_pull_no_bytes(
    reranker: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull(card_of(), tmp_path)
    asked = len(reranker.asked)
    pull(card_of(), tmp_path)
    assert len(reranker.asked) == asked
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert locate_folder(card_of(), tmp_path).name == COMMIT


def test_what_was_pulled_is_served_from(reranker: Hub, tmp_path: Path) -> None:
    from ullage.models.export_onnx import export

    pull(card_of(), tmp_path)
    assert export(locate_folder(card_of(), tmp_path), tmp_path).is_file()


def test_a_cut_connection_goes_on_where_it_stopped(reranker: Hub, tmp_path: Path) -> None:
    reranker.cut_after = [5000, 7000, 0, 100]
    path = pull(card_of(), tmp_path)["weights"]
    assert path.read_bytes() == reranker.files["model.safetensors"]
    assert reranker.weights_asked() == ["", "bytes=5000-", "bytes=12000-", "bytes=12000-", "bytes=12100-"]


def test_a_pull_that_gave_up_is_taken_up_by_the_next(reranker: Hub, tmp_path: Path) -> None:
    reranker.cut_after = [9000, *[0] * transfer.IDLE_ATTEMPTS]
    with pytest.raises(ModelNotFound, match=r"model.safetensors stops at byte 9000 of \d+, 5 times in a row") as caught:
        pull(card_of(), tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelNotFound, match="run `ullage models pull tiny/reranker`"):
        locate(card_of(), tmp_path)
    reranker.asked.clear()
    pull(card_of(), tmp_path)
    assert reranker.asked == [("model.safetensors", "bytes=9000-")], "the small files and 9000 bytes were here"


def test_a_server_that_sends_from_the_start_again(reranker: Hub, tmp_path: Path) -> None:
    reranker.cut_after, reranker.ignores_range = [4000], True
    assert pull(card_of(), tmp_path)["weights"].read_bytes() == reranker.files["model.safetensors"]


def test_a_busy_server_is_asked_again(reranker: Hub, tmp_path: Path) -> None:
    reranker.statuses = [503, 429, 416]
    reranker.cut_after = []
    (part := tmp_path / "hub" / "tiny--reranker" / COMMIT / "model.safetensors.part").parent.mkdir(parents=True)
    part.write_bytes(reranker.files["model.safetensors"][:100])
    assert pull(card_of(), tmp_path)["weights"].read_bytes() == reranker.files["model.safetensors"]
    assert reranker.weights_asked() == ["bytes=100-", "bytes=100-", "bytes=100-", ""]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_other_bytes_than_the_hub_lists_never_arrive(reranker: Hub, tmp_path: Path, name: str) -> None:
    right = reranker.files[name]
    reranker.send_instead[name] = right[:-1] + b"?"
    said = rf"{name} of tiny/reranker came with hash .*, the hub says .*pull again"
    with pytest.raises(ModelCorrupt, match=said) as caught:
        pull(card_of(), tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob(f"{name}*")), "nothing of it is kept"
    reranker.send_instead.clear()
    assert (locate_folder_after_pull(tmp_path) / name).read_bytes() == right


def locate_folder_after_pull(cache: Path) -> Path:
    pull(card_of(), cache)
    return locate_folder(card_of(), cache)


def test_more_bytes_than_the_hub_lists(reranker: Hub, tmp_path: Path) -> None:
    right = reranker.files["model.safetensors"]
    reranker.send_instead["model.safetensors"] = right + b"x" * (4 << 20)
    with pytest.raises(ModelCorrupt, match=rf"sends more than the {len(right)} bytes that the hub lists"):
        pull(card_of(), tmp_path)
    assert not list(tmp_path.rglob("model.safetensors*"))


def test_fewer_bytes_than_the_hub_lists(reranker: Hub, tmp_path: Path) -> None:
    reranker.send_instead["model.safetensors"] = reranker.files["model.safetensors"][:-10]
    with pytest.raises(ModelNotFound, match="times in a row"):
        pull(card_of(), tmp_path)


def test_a_full_disk_is_one_line_and_loses_nothing(reranker: Hub, tmp_path: Path) -> None:
    """A part file that is the system's full device: writing to it fails as a full disk does."""
    folder = tmp_path / "hub" / "tiny--reranker" / COMMIT
    folder.mkdir(parents=True)
    (folder / "model.safetensors.part").symlink_to("/dev/full")
    with pytest.raises(ModelNotFound, match=r"cannot keep what is fetched in .*: No space left on device;") as caught:
        pull(card_of(), tmp_path)
    assert "\n" not in str(caught.value)
    (folder / "model.safetensors.part").unlink()
    reranker.asked.clear()
    pull(card_of(), tmp_path)
    assert {path for path, _ in reranker.asked} == {"model.safetensors"}


def test_a_disk_that_is_too_small_is_told_before_the_first_byte(reranker: Hub, tmp_path: Path) -> None:
    listing = reranker.listing()
    for entry in listing["siblings"]:
        if entry["rfilename"] == "model.safetensors":
            entry["lfs"]["size"] = 1 << 60
    reranker.listing = lambda: listing  # type: ignore[method-assign]
    with pytest.raises(ModelNotFound, match=r"bytes free, 115292150460\d+ more are needed: free some, or set"):
        pull(card_of(), tmp_path)
    assert reranker.asked == []


def test_damage_after_the_pull_is_found_at_the_next_start_and_mended(reranker: Hub, tmp_path: Path) -> None:
    path = pull(card_of(), tmp_path)["weights"]
    right = path.read_bytes()
    path.write_bytes(right[:-1] + b"?")
    with pytest.raises(ModelCorrupt, match=r"has SHA-256 .*, its lock says .*: run `ullage models pull tiny/reranker`"):
        locate(card_of(), tmp_path)
    path.write_bytes(right[:-1])
    with pytest.raises(ModelCorrupt, match=r"bytes, its lock says"):
        locate(card_of(), tmp_path)
    assert missing(card_of(), tmp_path)
    path.unlink()
    with pytest.raises(ModelNotFound, match=r"is gone: run `ullage models pull"):
        locate(card_of(), tmp_path)
    assert pull(card_of(), tmp_path)["weights"].read_bytes() == right


LOCK = {"repo": "r", "revision": "m", "commit": COMMIT, "files": []}


@pytest.mark.parametrize("content", [
    "", "{", "[]", '{"repo": "r"}', json.dumps(LOCK | {"commit": "../.."}),
    json.dumps(LOCK | {"files": [{"path": "../../x", "size": 1, "sha256": ""}]}),
])
def test_a_lock_that_is_none(reranker: Hub, tmp_path: Path, content: str) -> None:
    pull(card_of(), tmp_path)
    [lock] = tmp_path.rglob("locks/*.json")
    lock.write_text(content)
    with pytest.raises(ModelCorrupt, match="delete it and pull again"):
        locate(card_of(), tmp_path)


def test_a_branch_that_moved_is_followed_by_a_pull_alone(reranker: Hub, tmp_path: Path) -> None:
    pull(card_of(), tmp_path)
    pull(card_of("v1"), tmp_path)
    reranker.commit = LATER
    reranker.files["tokenizer_config.json"] = b"{}"
    assert locate_folder(card_of(), tmp_path).name == COMMIT
    pull(card_of(), tmp_path)
    assert locate_folder(card_of(), tmp_path).name == LATER
    assert locate_folder(card_of("v1"), tmp_path).name == COMMIT, "another revision still means it"
    pull(card_of("v1"), tmp_path)
    assert not (tmp_path / "hub" / "tiny--reranker" / COMMIT).exists(), "no revision means it any longer"


def test_a_revision_may_hold_slashes(reranker: Hub, tmp_path: Path) -> None:
    pull(card_of("refs/pr/1"), tmp_path)
    assert locate_folder(card_of("refs/pr/1"), tmp_path).name == COMMIT
    with pytest.raises(ModelNotFound, match="run `ullage models pull tiny/reranker`"):
        locate(card_of(), tmp_path)


def test_shards_and_the_files_of_sentence_transformers(hub: Hub, tmp_path: Path) -> None:
    filled(hub, make_llama(tmp_path / "llama", labels=1, shards=3))
    folder = pull(card_of(), tmp_path / "a")["weights"].parent
    assert [path.name for path in sorted(folder.glob("*.safetensors"))] == [
        f"model-{n:05}-of-00003.safetensors" for n in (1, 2, 3)]
    filled(hub, make_sentence_encoder(tmp_path / "encoder"))
    hub.files["model-00001-of-00001.safetensors"] = b"left over"
    folder = pull(card_of(), tmp_path / "b")["weights"].parent
    assert (folder / "modules.json").is_file()
    assert (folder / "1_Pooling" / "config.json").is_file()
    assert [path.name for path in folder.glob("*.safetensors")] == ["model.safetensors"]


@pytest.mark.parametrize(("drop", "said"), [
    ("model.safetensors", "has no safetensors, and other forms of weights can run code"),
    ("tokenizer.json", "has no tokenizer.json: it is not a checkpoint we serve"),
    ("config.json", "has no config.json"),
])
def test_a_repository_without_what_is_needed(reranker: Hub, tmp_path: Path, drop: str, said: str) -> None:
    del reranker.files[drop]
    with pytest.raises(ModelUnsupported, match=said):
        pull(card_of(), tmp_path)
    assert reranker.asked == []


@pytest.mark.parametrize(("status", "said"), [
    (401, "accept its terms on its page and set HF_TOKEN"),
    (403, "accept its terms on its page and set HF_TOKEN"),
    (404, r"has no tiny/reranker@main \(HTTP 404\)"),
    (500, "answered HTTP 500 for tiny/reranker@main: try again later"),
])
def test_a_hub_that_refuses(reranker: Hub, tmp_path: Path, status: int, said: str) -> None:
    reranker.status = status
    with pytest.raises(ModelNotFound, match=said) as caught:
        pull(card_of(), tmp_path)
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_none(reranker: Hub, tmp_path: Path) -> None:
    for listing, said in (([], "did not answer with a repository's files"), ({}, "did not answer with"),
                          ({"sha": "../..", "siblings": []}, r"names a commit '\.\./\.\.'")):
        reranker.listing = lambda listing=listing: listing  # type: ignore[method-assign, misc]
        with pytest.raises(ModelCorrupt, match=said):
            pull(card_of(), tmp_path)


def test_a_hub_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ModelNotFound, match=r"cannot fetch tiny/reranker@main from http://127\.0\.0\.1:1: ") as caught:
        pull(card_of(), tmp_path)
    assert "\n" not in str(caught.value)


def test_offline_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="HF_HUB_OFFLINE is set: nothing is fetched"):
        pull(card_of(), tmp_path)


def test_what_cannot_be_pulled_says_why(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported, match="cannot be served: it ranks page images"):
        pull(find_card("nvidia/llama-nemotron-rerank-vl-1b-v2", "ranking"), tmp_path)
    with pytest.raises(ModelNotFound, match=r"is on no public hub: .* set embedding_model to the folder"):
        pull(find_card("nvidia/nv-embedqa-e5-v5", "embedding"), tmp_path)


def test_removing(reranker: Hub, tmp_path: Path) -> None:
    card = card_of()
    pull(card, tmp_path)
    size = sum(len(reranker.files[file.path]) for file in read_lock(card, tmp_path).files)  # type: ignore[union-attr]
    assert size <= remove(card, tmp_path, []) <= size + 4096
    assert missing(card, tmp_path)
    with pytest.raises(ModelNotFound, match="nothing that is only tiny/reranker's is in"):
        remove(card, tmp_path, [])


def test_two_pulls_at_once_fetch_once(reranker: Hub, tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(pull(card_of(), tmp_path)["weights"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(reranker.weights_asked()) == 1
