"""200 files while the ingestor and its readers are killed at random: none lost, none twice, status truthful."""

from __future__ import annotations

import json
import random
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from hostile import pdf
from ingestors import Ingestor, children, embedding, kill_one_of, lite_server
from ullage.store import VectorStore

UPLOADS = 10
BAD = 5
TWINS = 5
EMBEDDING_S = 0.3
LONGEST_S = 240


def corpus() -> dict[str, bytes]:
    """200 files by name: 190 that go in, five of them with the bytes of others, and five that cannot be read."""
    files: dict[str, bytes] = {}
    for n in range(150):
        files[f"note-{n}.md"] = f"# Note {n}\n\nPump {n} is serviced every {n + 2} days.\n".encode()
    for n in range(20):
        files[f"page-{n}.html"] = f"<h1>Page {n}</h1><p>Valve {n} is red.</p>".encode()
    for n in range(10):
        files[f"list-{n}.csv"] = f"Pump,Flow\nP-{n},{n}\n".encode()
    for n in range(10):
        files[f"sheet-{n}.pdf"] = pdf(lambda canvas, n=n: canvas.drawString(72, 700, f"Sheet {n} tells of motor {n}."))
    for n in range(TWINS):
        files[f"twin-{n}.md"] = files[f"note-{n}.md"]
    for n in range(BAD):
        files[f"bad-{n}.pdf"] = b"%PDF-1.7 broken " + str(n).encode()
    assert len(files) == 200
    return files


@dataclass
class Seen:
    """What the outside was told, and every time it was told something that was not so."""

    tasks: list[str] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    polls: int = 0
    resent: int = 0
    cut_off: int = 0
    lies: list[str] = field(default_factory=list)


def send(url: str, files: dict[str, bytes], seen: Seen, over: threading.Event) -> None:
    """Uploads, each until it is answered. One that was accepted without an answer is told as already there."""
    names = sorted(files)
    random.Random(1).shuffle(names)
    size = len(names) // UPLOADS
    data = {"data": json.dumps({"collection_name": "c"})}
    for begin in range(0, len(names), size):
        parts = [("documents", (name, files[name])) for name in names[begin : begin + size]]
        while not over.is_set():
            try:
                answer = httpx.post(f"{url}/v1/documents", files=parts, data=data, timeout=30)
                if answer.status_code == 200:
                    seen.tasks.append(answer.json()["task_id"])
                    break
            except httpx.HTTPError as error:
                seen.cut_off += isinstance(error, httpx.ReadError | httpx.RemoteProtocolError | httpx.WriteError)
            seen.resent += 1
            time.sleep(0.2)
        time.sleep(2.5)


def look(url: str, store: VectorStore, seen: Seen) -> int | None:
    """Poll every task; how many files are open, None when the ingestor is away."""
    waiting = 0
    for task in list(seen.tasks):
        try:
            body = httpx.get(f"{url}/v1/status", params={"task_id": task}, timeout=10).json()
        except (httpx.HTTPError, ValueError):
            return None
        if "state" not in body:
            return None  # not ready yet
        seen.polls += 1
        if body["state"] == "UNKNOWN":
            seen.lies.append(f"task {task} was forgotten")
            continue
        states = body["nv_ingest_status"]["document_wise_status"]
        finished = {name for name, file in states.items() if file["state"] == "FINISHED"}
        known = {file: states[file]["state"] for file in seen.finished & set(states)}
        seen.lies += [f"{name} was finished and is {state}" for name, state in known.items()
                      if state != "FINISHED" and "already exists" not in states[name]["error"]]
        listed = {record.name for record in store.documents("c", sorted(finished))}
        seen.lies += [f"{name} is told as finished and is not listed" for name in finished - listed]
        seen.finished |= finished
        waiting += sum(file["state"] in ("PENDING", "RUNNING") for file in states.values())
    return waiting


@pytest.mark.timeout(LONGEST_S + 60)
def test_killed_at_random_until_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files, seen, over = corpus(), Seen(), threading.Event()
    dice = random.Random(20)
    ingestors_killed = readers_killed = 0
    with embedding(EMBEDDING_S) as embedder, lite_server(tmp_path) as (uri, _):
        ingestor = Ingestor(tmp_path, ULLAGE_EMBEDDING_URL=embedder, ULLAGE_VECTORS_URI=uri)
        ingestor.start()
        store = VectorStore(uri)
        begun = time.monotonic()
        try:
            httpx.post(f"{ingestor.url}/collection", json={"collection_name": "c"}).raise_for_status()
            sender = threading.Thread(target=send, args=(ingestor.url, files, seen, over))
            sender.start()
            next_kill = time.monotonic() + dice.uniform(0.5, 3)
            while time.monotonic() - begun < LONGEST_S:
                waiting = look(ingestor.url, store, seen)
                if waiting == 0 and not sender.is_alive():
                    break
                if time.monotonic() >= next_kill:
                    if dice.random() < 0.6:
                        ingestor.kill()
                        ingestors_killed += 1
                        ingestor.start()
                    else:
                        readers_killed += kill_one_of(children(ingestor.pid))
                    next_kill = time.monotonic() + dice.uniform(0.5, 3)
                time.sleep(0.1)
            seconds = time.monotonic() - begun
            over.set()
            sender.join()
            outcome = {name: file for task in seen.tasks for name, file in httpx.get(
                f"{ingestor.url}/v1/status", params={"task_id": task}).json()["nv_ingest_status"][
                "document_wise_status"].items() if "already exists" not in file["error"]}
            listed = store.documents("c")
            count = store.count("c")
        finally:
            over.set()
            ingestor.stop()
            store.close()
    names = [record.name for record in listed]
    good = {name for name in files if not name.startswith("bad-")}
    unlucky = {name: file["error"] for name, file in outcome.items()
               if name in good and file["state"] == "FAILED"}
    with capsys.disabled():
        print(f"\n{len(files)} files in {seconds:.0f} s; ingestor killed {ingestors_killed} times, readers "
              f"{readers_killed} times; {len(names)} in the collection, {BAD} unreadable, {len(unlucky)} failed by a "
              f"killed reader; {seen.polls} status answers, {len(seen.lies)} of them wrong; uploads sent again "
              f"{seen.resent} times, {seen.cut_off} of them cut off in the middle")
    assert seen.lies == []
    assert sorted(names) == sorted(set(names))
    assert set(names) | set(unlucky) == good
    assert not set(names) & set(unlucky)
    assert all("SIGKILL" in error for error in unlucky.values()), unlucky
    assert count == sum(record.chunks for record in listed), "something is there twice or half"
    assert ingestors_killed >= 3
