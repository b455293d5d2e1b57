"""Tasks of the ingestor: cancel, retry, back-pressure, and what is left of files that are lost."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path

import httpx

from hashing import HashingEmbedder, RunIngest
from ullage.ingest.worker import SUSPECT_ATTEMPTS, Worker
from ullage.store import FileRecord, Ledger, VectorStore

MANUAL = b"# Pumps\n\nThe bilge pump is serviced every six months.\n"
LONG = b"# Long\n\n" + b" ".join(b"Sentence %d speaks of pump %d." % (n, n) for n in range(3000))


async def begin(client: httpx.AsyncClient, files: dict[str, bytes], method: str = "POST", **data: object) -> str:
    await client.post("/collection", json={"collection_name": "c"})
    parts = [("documents", (name, content)) for name, content in files.items()]
    answer = await client.request(method, "/documents", files=parts, data={"data": json.dumps(data)})
    assert answer.status_code == 200, answer.text
    return answer.json()["task_id"]


async def status(client: httpx.AsyncClient, task: str) -> dict:
    return (await client.get("/status", params={"task_id": task})).json()


async def over(client: httpx.AsyncClient, task: str) -> dict:
    async with asyncio.timeout(30):
        while (body := await status(client, task))["state"] == "PENDING":
            await asyncio.sleep(0.02)
    return body


def files(body: dict) -> dict[str, dict]:
    return body["nv_ingest_status"]["document_wise_status"]


def states(body: dict) -> dict[str, str]:
    return {name: file["state"] for name, file in files(body).items()}


def stored(tmp_path: Path) -> dict[str, int]:
    """Chunks by document, listed or not."""
    store = VectorStore(str(tmp_path / "vectors.db"))
    try:
        found: dict[str, int] = {}
        for chunks, _ in store.everything("c"):
            for chunk in chunks:
                found[chunk.document] = found.get(chunk.document, 0) + 1
        return found
    finally:
        store.close()


async def idle(client: httpx.AsyncClient) -> float:
    """Seconds until nothing is in work."""
    begun = time.monotonic()
    async with asyncio.timeout(10):
        while True:
            health = (await client.get("/health", params={"check_dependencies": True})).json()
            if health["processing"][0]["message"].startswith("0 files"):
                return time.monotonic() - begun
            await asyncio.sleep(0.02)


async def test_cancel_stops_what_runs_and_what_waits(
    ingest: RunIngest, embedder: HashingEmbedder, tmp_path: Path
) -> None:
    async with ingest() as client:
        kept = await begin(client, {"kept.md": MANUAL})
        await over(client, kept)
        embedder.gate.clear()
        sent = {"long.md": LONG, **{f"{n}.md": b"# N\n\nNumber %d.\n" % n for n in range(20)}}
        task = await begin(client, sent)
        async with asyncio.timeout(20):
            while "RUNNING" not in states(await status(client, task)).values():
                await asyncio.sleep(0.02)
        answer = await client.post(f"/tasks/{task}/cancel")
        assert len(answer.json()["cancelled"]) == 21
        body = await status(client, task)
        assert (body["state"], set(states(body).values())) == ("FAILED", {"CANCELLED"})
        assert body["result"]["message"] == "Document upload job was cancelled."
        assert body["result"]["failed_documents"][0]["error_message"] == "long.md was cancelled before it was ingested"
        assert await idle(client) < 2.0
        embedder.gate.set()
        assert (await client.post(f"/tasks/{task}/cancel")).json()["cancelled"] == []
    assert stored(tmp_path) == {"kept.md": 1}


async def test_a_file_that_was_cancelled_before_its_turn_is_not_begun(tmp_path: Path) -> None:
    """It was chosen, then cancelled, then its turn came."""
    touched: list[str] = []

    class Untouched:
        def __getattr__(self, name: str) -> object:
            touched.append(name)
            raise AssertionError(name)

    ledger = Ledger(tmp_path / "ledger.db")
    task = ledger.add("c", [FileRecord("a.md", "a" * 64)], {"chunk_tokens": 64, "chunk_overlap": 0})
    worker = Worker(ledger, Untouched(), Untouched(), patience_s=1)
    [(file, heading)] = ledger.waiting(1)
    ledger.cancel(task.id)
    await worker._work_on(file, heading)
    assert touched == []
    assert ledger.file(file.number).state == "CANCELLED"
    ledger.close()


async def test_a_file_that_is_half_stored_leaves_nothing_when_it_is_cancelled(
    ingest: RunIngest, embedder: HashingEmbedder, tmp_path: Path
) -> None:
    async with ingest() as client:
        task = await begin(client, {"long.md": LONG})
        async with asyncio.timeout(20):
            while not files(await status(client, task))["long.md"]["chunks_done"]:
                await asyncio.sleep(0.01)
        embedder.gate.clear()
        await client.post(f"/v1/tasks/{task}/cancel", params={"document_name": "long.md"})
        assert await idle(client) < 2.0
        embedder.gate.set()
        unknown = await client.post(f"/v1/tasks/{task}/cancel", params={"document_name": "other.md"})
        assert (unknown.status_code, "has no file 'other.md'" in unknown.text) == (404, True)
        assert (await client.post("/tasks/nope/cancel")).status_code == 404
    assert stored(tmp_path) == {}


async def test_failed_and_cancelled_files_are_tried_again(
    ingest: RunIngest, embedder: HashingEmbedder, tmp_path: Path
) -> None:
    async with ingest(request_timeout_s=0.6) as client:
        embedder.down = True
        task = await begin(client, {"a.md": MANUAL, "b.xyz": b"x", "c.md": LONG})
        body = await over(client, task)
        assert states(body) == {"a.md": "FAILED", "b.xyz": "FAILED", "c.md": "FAILED"}
        again = (await client.post(f"/tasks/{task}/retry", params={"document_name": "a.md"})).json()
        assert (again["retried"], again["failed_documents"]) == (["a.md"], [])
        await over(client, task)
        embedder.down = False
    async with ingest(keep_uploads=False) as client:
        again = (await client.post(f"/tasks/{task}/retry")).json()
        assert again["retried"] == ["a.md", "c.md"]
        assert again["failed_documents"] == [
            {"document_name": "b.xyz", "error_message": "b.xyz is not kept any more: upload it again"}
        ]
        body = await over(client, task)
        assert states(body) == {"a.md": "FINISHED", "b.xyz": "FAILED", "c.md": "FINISHED"}
        assert body["state"] == "FINISHED"
        assert (await client.post(f"/tasks/{task}/retry")).json()["retried"] == []
        listed = (await client.get("/tasks")).json()["tasks"]
        assert [(t["task_id"], t["files"]) for t in listed] == [(task, {"failed": 1, "finished": 2})]
    assert sorted(stored(tmp_path)) == ["a.md", "c.md"]
    assert [p for p in (tmp_path / "ingest" / "uploads").rglob("*") if p.is_file()] == []


async def test_a_retry_does_not_push_out_what_came_meanwhile(ingest: RunIngest, embedder: HashingEmbedder) -> None:
    async with ingest(request_timeout_s=0.6) as client:
        embedder.down = True
        task = await begin(client, {"a.md": MANUAL})
        await over(client, task)
        embedder.down = False
        await over(client, await begin(client, {"a.md": b"# Other\n\nOther words.\n"}))
        again = (await client.post(f"/tasks/{task}/retry")).json()
        assert again["retried"] == []
        assert "already exists" in again["failed_documents"][0]["error_message"]


async def test_an_update_with_the_same_bytes(ingest: RunIngest, embedder: HashingEmbedder, tmp_path: Path) -> None:
    async with ingest(request_timeout_s=0.6) as client:
        await over(client, await begin(client, {"a.md": LONG[:4000]}))
        fewer = await begin(client, {"a.md": LONG[:4000]}, "PATCH", split_options={"chunk_size": 400,
                                                                                   "chunk_overlap": 0})
        assert states(await over(client, fewer)) == {"a.md": "FINISHED"}
        embedder.name = "test/other"
    async with ingest(request_timeout_s=0.6) as client:
        refused = await begin(client, {"a.md": LONG[:4000]}, "PATCH", split_options={"chunk_size": 400,
                                                                                     "chunk_overlap": 0})
        assert states(await over(client, refused)) == {"a.md": "FAILED"}
        body = (await client.get("/documents", params={"collection_name": "c"})).json()
        assert [d["document_name"] for d in body["documents"]] == ["a.md"], "the old one stays when an update fails"
    assert stored(tmp_path) == {"a.md": body["documents"][0]["document_info"]["total_elements"]}


async def test_uploads_beyond_the_queue_are_refused_before_they_are_kept(
    ingest: RunIngest, embedder: HashingEmbedder, tmp_path: Path
) -> None:
    async with ingest(ingest_queue_files=2, ingest_queue=2000) as client:
        embedder.gate.clear()
        task = await begin(client, {"a.md": MANUAL, "b.md": b"# B\n\nOther.\n"})
        parts = [("documents", ("c.md", MANUAL))]
        refused = await client.post("/documents", files=parts)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        assert "3 files would wait to be ingested, 2 may" in refused.json()["message"]
        embedder.gate.set()
        await over(client, task)
        large = await client.post("/documents", files=[("documents", ("d.md", b"x" * 2001))])
        assert "2001 bytes would wait to be ingested, 2000 may" in large.json()["message"]
        assert (await client.post("/documents", files=parts)).status_code == 200


async def test_bytes_that_two_uploads_share_are_embedded_once(ingest: RunIngest, embedder: HashingEmbedder) -> None:
    async with ingest() as client:
        tasks = [await begin(client, {f"{n}.md": MANUAL}) for n in range(4)]
        for task in tasks:
            assert (await over(client, task))["state"] == "FINISHED"
        assert len(embedder.passages) == 1


async def test_what_an_earlier_run_left_of_lost_files_is_removed(
    ingest: RunIngest, embedder: HashingEmbedder, tmp_path: Path
) -> None:
    """Killed between the ledger's note that a file is cancelled and the removal of what was written of it."""
    async with ingest() as client:
        await over(client, await begin(client, {"a.md": MANUAL, "b.md": LONG[:3000]}))
    ledger = Ledger(tmp_path / "ingest" / "ledger.db")
    finished = {file.name: file for file in ledger.task(ledger.tasks(1)[0][0].id).files}
    lost = ledger.add("c", [FileRecord("b.md", "e" * 64), FileRecord("a.md", finished["a.md"].sha256)],
                      {"chunk_tokens": 64, "chunk_overlap": 0})
    for file in lost.files:
        ledger.begin(file.number)
    ledger.cancel(lost.id)
    assert [file.name for _, file in ledger.left_behind()] == ["b.md"], "the bytes of a.md are there by another task"
    ledger.close()
    store = VectorStore(str(tmp_path / "vectors.db"))
    [row, *_], vectors = store.chunks("c", "b.md")
    store.upsert("c", [replace(row, content_hash="e" * 64, ordinal=5)], vectors[:1])
    whole = store.count("c")
    store.close()
    async with ingest() as client:
        await idle(client)
        async with asyncio.timeout(10):
            while (await client.get("/collections")).json()["collections"][0]["num_entities"] != whole - 1:
                await asyncio.sleep(0.02)


async def test_a_suspect_is_worked_on_alone(ingest: RunIngest, embedder: HashingEmbedder, tmp_path: Path) -> None:
    async with ingest() as client:
        embedder.gate.clear()
        task = await begin(client, {f"{n}.md": b"# N\n\nNumber %d.\n" % n for n in range(3)})
    embedder.gate.set()
    ledger = Ledger(tmp_path / "ingest" / "ledger.db")
    records = ledger.task(task).files
    assert [file.attempts for file in records] == [0, 0, 0], "stopping on purpose is nobody's fault"
    for _ in range(SUSPECT_ATTEMPTS):
        ledger.begin(records[1].number)
    assert [file.name for file, _ in ledger.waiting(9)] == ["1.md", "0.md", "2.md"]
    ledger.close()
    embedder.gate.clear()
    async with ingest() as client:
        async with asyncio.timeout(10):
            while states(await status(client, task))["1.md"] != "RUNNING":
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        assert states(await status(client, task)) == {"0.md": "PENDING", "1.md": "RUNNING", "2.md": "PENDING"}
        embedder.gate.set()
        assert set(states(await over(client, task)).values()) == {"FINISHED"}


async def test_uploads_in_a_remote_object_store(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest(objects_uri=f"memory://{tmp_path.name}") as client:
        body = await over(client, await begin(client, {"a.md": MANUAL}))
        assert body["state"] == "FINISHED"
        health = (await client.get("/health", params={"check_dependencies": True})).json()
        assert (health["object_storage"][0]["status"], health["object_storage"][0]["url"]) == (
            "healthy", f"memory://{tmp_path.name}")
        assert health["task_management"][0]["message"] == "0 files of 0 bytes are not finished"
    assert not (tmp_path / "ingest" / "uploads").exists()


async def test_a_second_ingestor_waits_for_the_first(ingest: RunIngest) -> None:
    async with ingest():
        try:
            async with asyncio.timeout(1.5), ingest():
                raise AssertionError("two ingestors on one state folder")
        except TimeoutError:
            pass
