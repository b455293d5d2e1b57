"""The ingestor's API on a real Milvus Lite, with a real embedding service on a loopback port."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from hashing import HashingEmbedder, RunIngest
from ullage.errors import SettingsError
from ullage.ingest.server import create_app
from ullage.ingest.uploads import safe_name
from ullage.ingest.worker import MOST_ATTEMPTS
from ullage.settings import Settings
from ullage.store import FileRecord, Ledger, VectorStore

MANUAL = b"# Pumps\n\nThe bilge pump is serviced every six months.\n\n# Valves\n\nThe valve is red.\n"
OTHER = b"# Readers\n\nTicket readers are bought in boxes.\n"
Files = dict[str, bytes]


async def upload(client: httpx.AsyncClient, files: Files, method: str = "POST", prefix: str = "", **data: object):
    parts = [("documents", (name, content)) for name, content in files.items()]
    said = {"blocking": True, **data}
    return await client.request(method, f"{prefix}/documents", files=parts, data={"data": json.dumps(said)})


async def taken(client: httpx.AsyncClient, files: Files, **data: object) -> dict:
    answer = await upload(client, files, **data)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def make(client: httpx.AsyncClient, name: str = "c") -> None:
    answer = await client.post("/collection", json={"collection_name": name, "embedding_dimension": 2048})
    assert answer.status_code == 200, answer.text


async def names(client: httpx.AsyncClient, collection: str = "c") -> list[str]:
    body = (await client.get("/documents", params={"collection_name": collection})).json()
    assert body["total_documents"] == len(body["documents"])
    return [document["document_name"] for document in body["documents"]]


async def over(client: httpx.AsyncClient, task: str) -> dict:
    async with asyncio.timeout(30):
        while True:
            body = (await client.get("/v1/status", params={"task_id": task})).json()
            if body["state"] != "PENDING":
                return body
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_a_blocking_upload_is_searchable_when_it_answers(
    ingest: RunIngest, tmp_path: Path, prefix: str
) -> None:
    async with ingest() as client:
        created = await client.post(f"{prefix}/collection", json={"collection_name": "c", "description": "d"})
        assert created.json() == {"message": "Collection c created successfully.", "collection_name": "c"}
        again = await client.post(f"{prefix}/collection", json={"collection_name": "c"})
        assert (again.status_code, again.json()["message"]) == (200, "Collection c already exists.")
        body = (await upload(client, {"manual.md": MANUAL}, prefix=prefix)).json()
        assert body["message"] == "Document upload job successfully completed."
        assert (body["total_documents"], body["documents_completed"]) == (1, 1)
        assert (body["failed_documents"], body["validation_errors"]) == ([], [])
        [document] = body["documents"]
        assert document["document_name"] == "manual.md"
        assert document["metadata"] == {"filename": "manual.md"}
        assert document["document_info"]["file_size"] == len(MANUAL)
        assert document["document_info"]["total_elements"] == 2
        listed = (await client.get(f"{prefix}/documents", params={"collection_name": "c"})).json()
        assert listed["documents"] == body["documents"]
        collections = (await client.get(f"{prefix}/collections")).json()
        assert collections["total_collections"] == 1
        [shown] = collections["collections"]
        assert (shown["collection_name"], shown["num_entities"]) == ("c", 2)
        assert shown["collection_info"]["description"] == "d"
        assert shown["collection_info"]["number_of_files"] == 1
        assert (await client.get(f"{prefix}/health")).json()["message"] == "Service is up."
    store = VectorStore(str(tmp_path / "vectors.db"))
    [hit, *_] = store.search_lexical("c", "bilge pump service", 3)
    assert (hit.chunk.text, hit.chunk.page) == ("Pumps\nThe bilge pump is serviced every six months.", 1)
    assert hit.chunk.metadata["filename"] == "manual.md"
    store.close()


async def test_a_background_upload_is_followed_by_status(ingest: RunIngest, embedder: HashingEmbedder) -> None:
    async with ingest() as client:
        await make(client)
        embedder.gate.clear()
        answer = await taken(client, {"manual.md": MANUAL, "bad.pdf": b"no"}, blocking=False)
        assert answer["message"] == "Ingestion started in background"
        waiting = (await client.get("/status", params={"task_id": answer["task_id"]})).json()
        assert waiting["state"] == "PENDING"
        assert set(waiting["nv_ingest_status"]["document_wise_status"]) == {"manual.md", "bad.pdf"}
        embedder.gate.set()
        body = await over(client, answer["task_id"])
        assert body["state"] == "FINISHED"
        assert body["result"]["total_documents"] == 2
        assert [f["document_name"] for f in body["result"]["failed_documents"]] == ["bad.pdf"]
        assert body["result"]["failed_documents"][0]["error_message"].startswith("bad.pdf: is not a PDF")
        status = body["nv_ingest_status"]["document_wise_status"]["manual.md"]
        assert (status["state"], status["chunks_done"], status["chunks_total"]) == ("FINISHED", 2, 2)
        unknown = await client.get("/status", params={"task_id": "nope"})
        assert (unknown.status_code, unknown.json()["state"]) == (200, "UNKNOWN")


async def test_files_that_fail_are_named_and_the_others_go_in(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest(max_upload=1000) as client:
        await make(client)
        body = await taken(client, {
            "a.rtf": b"x,y", "empty.md": b"", "big.txt": b"x" * 1001, "ok.md": MANUAL, "zip.pdf": b"PK\x03\x04",
        })
        failed = {f["document_name"]: f["error_message"] for f in body["failed_documents"]}
        assert failed["a.rtf"].startswith("a.rtf: Unsupported file type, supported file types are: ")
        assert failed["empty.md"].startswith("empty.md: is empty")
        assert failed["big.txt"] == "big.txt has more than 1000 bytes: split it or raise max_upload"
        assert failed["zip.pdf"].startswith("zip.pdf: is a ZIP archive")
        assert (body["total_documents"], body["documents_completed"]) == (5, 1)
        assert await names(client) == ["ok.md"]
        all_bad = await taken(client, {"a.rtf": b"x"})
        assert all_bad["message"].startswith("Document upload job failed. All files failed to validate.")
    kept = [p.read_bytes() for p in (tmp_path / "ingest" / "uploads").rglob("*") if p.is_file()]
    assert sorted(kept) == sorted([b"", MANUAL, b"PK\x03\x04"]), "those that were read and failed can be tried again"


async def test_the_same_name_again_is_refused_and_the_first_stays(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        await make(client)
        await taken(client, {"manual.md": MANUAL})
        for content in (MANUAL, OTHER):
            body = await taken(client, {"manual.md": content})
            assert body["failed_documents"] == [{
                "document_name": "manual.md",
                "error_message": "Document manual.md already exists. Use update document API instead.",
            }]
        assert await names(client) == ["manual.md"]
    store = VectorStore(str(tmp_path / "vectors.db"))
    assert store.count("c") == 2
    store.close()


async def test_an_update_replaces_the_old_content(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        await make(client)
        await taken(client, {"manual.md": MANUAL})
        body = (await upload(client, {"manual.md": OTHER}, "PATCH")).json()
        assert body["documents_completed"] == 1
        bad = (await upload(client, {"manual.md": b"\xff\x00"}, "PATCH")).json()
        assert bad["documents_completed"] == 0
        assert await names(client) == ["manual.md"]
    store = VectorStore(str(tmp_path / "vectors.db"))
    found, _ = store.chunks("c", "manual.md")
    assert [chunk.text for chunk in found] == ["Readers\nTicket readers are bought in boxes."]
    store.close()


async def test_the_same_bytes_under_another_name_are_not_embedded_again(
    ingest: RunIngest, embedder: HashingEmbedder, tmp_path: Path
) -> None:
    async with ingest() as client:
        await make(client)
        await taken(client, {"manual.md": MANUAL})
        before = len(embedder.passages)
        body = await taken(client, {"copy.md": MANUAL})
        assert body["documents_completed"] == 1
        assert len(embedder.passages) == before
        assert await names(client) == ["copy.md", "manual.md"]
        await client.request("DELETE", "/documents", params={"collection_name": "c"}, json=["manual.md"])
        assert await names(client) == ["copy.md"]
        await taken(client, {"other-cut.md": MANUAL}, split_options={"chunk_size": 16, "chunk_overlap": 0})
        assert len(embedder.passages) > before
    store = VectorStore(str(tmp_path / "vectors.db"))
    assert {hit.chunk.metadata["filename"] for hit in store.search_lexical("c", "valve", 9)} == {
        "copy.md", "other-cut.md"
    }
    store.close()


async def test_two_files_of_one_name_in_a_request(ingest: RunIngest) -> None:
    async with ingest() as client:
        await make(client)
        parts = [("documents", ("a.md", MANUAL)), ("documents", ("a.md", OTHER))]
        body = (await client.post("/documents", files=parts, data={"data": '{"blocking": true}'})).json()
        assert (body["total_documents"], body["documents_completed"]) == (1, 1)
        [error] = body["validation_errors"]
        assert error["error"].startswith("File 'a.md': Total of 1 duplicate(s) found")
        assert error["metadata"] == {"filename": "a.md", "duplicate_count": 1, "total_occurrences": 2}


async def test_metadata_and_split_options_are_honoured(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        await make(client)
        text = " ".join(f"Sentence number {n} speaks of pump {n}." for n in range(40)).encode()
        body = await taken(
            client, {"a.txt": text}, split_options={"chunk_size": 32, "chunk_overlap": 0},
            custom_metadata=[{"filename": "a.txt", "metadata": {"site": "yard"}}],
            documents_catalog_metadata=[{"filename": "a.txt", "description": "pumps", "tags": ["x"]}],
        )
        info = body["documents"][0]["document_info"]
        assert (info["chunk_tokens"], info["description"], info["tags"]) == (32, "pumps", ["x"])
        assert info["total_elements"] > 5
        huge = await taken(client, {"b.txt": text}, split_options={"chunk_size": 1024, "chunk_overlap": 150})
        assert huge["documents"][0]["document_info"]["chunk_tokens"] == 510
    store = VectorStore(str(tmp_path / "vectors.db"))
    found, _ = store.chunks("c", "a.txt")
    assert {chunk.metadata["site"] for chunk in found} == {"yard"}
    store.close()


async def test_deleting_documents(ingest: RunIngest) -> None:
    async with ingest() as client:
        await make(client)
        await taken(client, {"a.md": MANUAL, "b.md": OTHER})

        async def delete(*gone: str) -> dict:
            answer = await client.request("DELETE", "/documents", params={"collection_name": "c"}, json=list(gone))
            assert answer.status_code == 200
            return answer.json()

        assert (await delete())["message"] == "Files deleted successfully"
        assert await names(client) == ["a.md", "b.md"]
        body = await delete("a.md", "zz.md")
        assert body["message"] == "The following document(s) do not exist in the vectorstore: zz.md"
        assert body["total_documents"] == 1
        assert await names(client) == ["b.md"]
        assert (await taken(client, {"a.md": MANUAL}))["documents_completed"] == 1


async def test_collections_in_bulk(ingest: RunIngest) -> None:
    async with ingest() as client:
        made = (await client.post("/collections", json=["x", "y", "not a name"])).json()
        assert made["successful"] == ["x", "y"]
        assert "not a name" in made["failed"][0]["error_message"]
        gone = await client.request("DELETE", "/collections", json=["x", "nowhere"])
        body = gone.json()
        assert (gone.status_code, body["message"]) == (200, "Collection deletion process completed.")
        assert (body["successful"], body["total_failed"]) == (["x"], 1)
        assert body["failed"][0]["collection_name"] == "nowhere"
        assert [c["collection_name"] for c in (await client.get("/collections")).json()["collections"]] == ["y"]


async def test_refused_requests(ingest: RunIngest) -> None:
    async with ingest() as client:
        missing = await upload(client, {"a.md": MANUAL}, collection_name="gone")
        assert missing.status_code == 500
        assert missing.json()["message"] == (
            "Ingestion of files failed with error: Collection gone does not exist. "
            "Ensure a collection is created using POST /collection endpoint first."
        )
        parts = [("documents", ("a.md", MANUAL))]
        bad = await client.post("/documents", files=parts, data={"data": "{no json"})
        assert (bad.status_code, bad.json()) == (400, {"detail": "Invalid JSON format"})
        await make(client)
        wrong = await upload(client, {"a.md": MANUAL}, split_options={"chunk_size": 1})
        assert wrong.status_code == 422
        assert wrong.json()["detail"][0]["loc"] == ["split_options", "chunk_size"]
        summary = await upload(client, {"a.md": MANUAL}, summary_options={"summarization_strategy": "single"})
        assert (summary.status_code, summary.json()["detail"][0]["msg"]) == (
            422, "Value error, summary_options need generate_summary=true")
        empty = (await client.get("/documents", params={"collection_name": "gone"})).json()
        assert (empty["total_documents"], empty["documents"]) == (0, [])
        name = await client.post("/collection", json={"collection_name": "1 2"})
        assert name.status_code == 422
        assert "letters, digits and underscores" in name.json()["message"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("../../etc/passwd.md", "passwd.md"),
        ("C:\\Users\\me\\plan.md", "plan.md"),
        ("a\x00b\x1b[31m\u202e.md", "ab[31m.md"),
        ("100%25 done.md", "100%25 done.md"),
        ("folder/", "folder"),
    ],
)
def test_names_are_only_names(given: str, expected: str) -> None:
    assert safe_name(given) == expected


async def test_hostile_names_stay_names(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        await make(client)
        body = await taken(client, {"../../../escape.md": MANUAL, "q\"uo'te\\n%2F.md": OTHER, "..": b"x"})
        assert body["documents_completed"] == 2
        assert len(body["failed_documents"]) == 1
        listed = await names(client)
        assert "escape.md" in listed
        too_long = await taken(client, {"x" * 300 + ".md": MANUAL})
        assert "255 at most; shorten it" in too_long["failed_documents"][0]["error_message"]
    assert not list(tmp_path.parent.glob("**/escape.md"))


async def test_work_that_was_cut_off_is_resumed(
    ingest: RunIngest, embedder: HashingEmbedder, tmp_path: Path
) -> None:
    long = b"# Long\n\n" + b" ".join(b"Sentence %d speaks of pump %d." % (n, n) for n in range(900))
    async with ingest() as client:
        await make(client)
        embedder.gate.clear()
        answer = await taken(client, {"long.md": long, "manual.md": MANUAL}, blocking=False)
        task = answer["task_id"]
    embedder.gate.set()
    ledger = Ledger(tmp_path / "ingest" / "ledger.db")
    assert ledger.task(task).state in ("PENDING", "RUNNING")
    ledger.close()
    async with ingest() as client:
        assert (await over(client, task))["state"] == "FINISHED"
        assert await names(client) == ["long.md", "manual.md"]
    store = VectorStore(str(tmp_path / "vectors.db"))
    listed = {record.name: record.chunks for record in store.documents("c")}
    assert store.count("c") == sum(listed.values())
    store.close()


async def test_a_file_that_kills_the_ingestor_is_given_up(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        await make(client)
    ledger = Ledger(tmp_path / "ingest" / "ledger.db")
    task = ledger.add("c", [FileRecord("killer.md", "f" * 64)], {"chunk_tokens": 64, "chunk_overlap": 0})
    for _ in range(MOST_ATTEMPTS):
        ledger.begin(task.files[0].number)
    ledger.close()
    async with ingest() as client:
        body = await over(client, task.id)
        assert body["state"] == "FAILED"
        assert "died 5 times over it" in body["result"]["failed_documents"][0]["error_message"]


async def test_an_embedder_that_is_away_for_a_moment_delays_only(ingest: RunIngest, embedder: HashingEmbedder) -> None:
    async with ingest(request_timeout_s=30) as client:
        await make(client)
        embedder.down = True
        answer = await taken(client, {"manual.md": MANUAL}, blocking=False)
        health = (await client.get("/health", params={"check_dependencies": True})).json()
        assert health["nim"][0]["status"] == "unhealthy"
        assert (health["databases"][0]["service"], health["databases"][0]["status"]) == ("Milvus", "healthy")
        embedder.down = False
        assert (await over(client, answer["task_id"]))["state"] == "FINISHED"


async def test_an_embedder_that_stays_away_fails_the_file_with_its_url(
    ingest: RunIngest, embedder: HashingEmbedder
) -> None:
    async with ingest(request_timeout_s=1) as client:
        await make(client)
        embedder.down = True
        body = await taken(client, {"manual.md": MANUAL})
        message = body["failed_documents"][0]["error_message"]
        assert embedder.url in message
        assert "failed with status 500" in message
        assert await names(client) == []


async def test_another_embedder_may_not_write_into_a_collection(
    ingest: RunIngest, embedder: HashingEmbedder
) -> None:
    async with ingest() as client:
        await make(client)
    embedder.name = "test/other"
    async with ingest() as client:
        body = await taken(client, {"manual.md": MANUAL})
        assert "set embedding_model=test/hashing" in body["failed_documents"][0]["error_message"]


async def test_a_dropped_collection_cancels_what_waits(ingest: RunIngest, embedder: HashingEmbedder) -> None:
    async with ingest() as client:
        await make(client)
        embedder.gate.clear()
        answer = await taken(client, {"a.md": MANUAL, "b.md": OTHER}, blocking=False)
        await client.request("DELETE", "/collections", json=["c"])
        embedder.gate.set()
        body = await over(client, answer["task_id"])
        assert body["state"] == "FAILED"
        assert "was deleted before a.md was ingested" in body["result"]["failed_documents"][0]["error_message"]
        await make(client)
        assert await names(client) == []


async def test_not_ready_says_what_it_waits_for(embedder: HashingEmbedder, tmp_path: Path, model_cache: Path) -> None:
    embedder.down = True
    settings = Settings(embedding_url=embedder.url, vectors_uri=str(tmp_path / "v.db"), state_dir=tmp_path,
                        cache_dir=model_cache)
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://i") as client:
        async with asyncio.timeout(30):
            while "waiting: embedding at" not in (await client.get("/v1/health/ready")).json().get("reason", ""):
                await asyncio.sleep(0.02)
        refused = await client.get("/collections")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        embedder.down = False
        async with asyncio.timeout(30):
            while (await client.get("/v1/health/ready")).status_code != 200:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"chunk_tokens": 511}, "chunk_tokens=511 is more than .*MiniLM.* reads of a text: 510 at most"),
        ({"chunk_tokens": 40, "chunk_overlap": 30}, "chunk_overlap=30 is more than half of chunk_tokens=40: 20 at"),
    ],
)
def test_settings_that_could_never_work(changes: dict, message: str, tmp_path: Path, model_cache: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        create_app(Settings(state_dir=tmp_path, cache_dir=model_cache, **changes))
