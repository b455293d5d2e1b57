"""Collections and metadata of the ingestor's API, as the contract says."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from hashing import RunIngest
from ullage.store import VectorStore

MANUAL = b"# Pumps\n\nThe bilge pump is serviced every six months.\n"
SCHEMA = [
    {"name": "site", "type": "string", "required": True, "max_length": 10},
    {"name": "when", "type": "datetime"},
    {"name": "tags", "type": "array", "array_type": "string"},
]


async def upload(client: httpx.AsyncClient, files: dict[str, bytes], metadata: dict[str, dict]) -> dict:
    parts = [("documents", (name, content)) for name, content in files.items()]
    said = [{"filename": name, "metadata": values} for name, values in metadata.items()]
    data = {"data": json.dumps({"blocking": True, "custom_metadata": said})}
    answer = await client.post("/v1/documents", files=parts, data=data)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_metadata_are_checked_against_the_schema(ingest: RunIngest, tmp_path: Path) -> None:
    async with ingest() as client:
        made = await client.post("/v1/collection", json={"collection_name": "c", "metadata_schema": SCHEMA})
        assert made.status_code == 200, made.text
        [shown] = (await client.get("/collections")).json()["collections"]
        assert [field["name"] for field in shown["metadata_schema"]] == ["site", "when", "tags", "filename"]
        assert shown["metadata_schema"][0] == {
            "name": "site", "type": "string", "required": True, "array_type": None, "max_length": 10,
            "description": None, "user_defined": True, "support_dynamic_filtering": True,
        }
        body = await upload(
            client,
            {"a.md": MANUAL, "b.md": b"# B\n\nOther.\n", "c.md": b"# C\n\nMore.\n", "d.md": b"# D\n\nLast.\n"},
            {"a.md": {"site": " Yard ", "when": "2024-05-01", "tags": ["Red"]}, "b.md": {"site": "x" * 11},
             "c.md": {"site": "yard", "color": "red"}, "nobody.md": {"site": "yard"}},
        )
        assert (body["total_documents"], body["documents_completed"]) == (4, 1)
        assert body["documents"][0]["metadata"] == {
            "filename": "a.md", "site": "yard", "when": "2024-05-01T00:00:00Z", "tags": ["red"]
        }
        assert {f["document_name"]: f["error_message"] for f in body["failed_documents"]} == {
            name: f"Metadata validation failed for {name}" for name in ("b.md", "c.md", "d.md")
        }
        assert [error["error"] for error in body["validation_errors"]] == [
            "File 'b.md': field 'site': has 11 characters, 10 at most",
            "File 'c.md': unknown field 'color': the schema has site, when, tags",
            "File 'd.md': field 'site' is required: give a string",
            "File 'nobody.md': metadata were given, but the request has no such file",
        ]
        only_bad = await upload(client, {"e.md": MANUAL}, {})
        assert only_bad["message"].startswith("Document upload job failed. All files failed to validate.")
    store = VectorStore(str(tmp_path / "vectors.db"))
    [hit] = store.search_lexical("c", "pump", 9, filter='content_metadata["tags"] includes "RED"')
    assert hit.chunk.document == "a.md"
    store.close()


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        ([{"name": "type", "type": "string"}], "'type' is reserved"),
        ([{"name": "a", "type": "array"}], "array_type goes with type array"),
        ([{"name": "a", "type": "string"}, {"name": "a", "type": "float"}], "fields named twice: a"),
    ],
)
async def test_schemas_that_are_refused(ingest: RunIngest, schema: list, fault: str) -> None:
    async with ingest() as client:
        answer = await client.post("/collection", json={"collection_name": "c", "metadata_schema": schema})
        assert (answer.status_code, fault in answer.json()["message"]) == (422, True)
        assert fault in answer.json()["detail"][0]["msg"]


async def test_what_is_said_of_collections_and_documents_can_change(ingest: RunIngest) -> None:
    async with ingest() as client:
        await client.post("/collection", json={"collection_name": "c", "description": "old", "owner": "me"})
        await upload(client, {"a.md": MANUAL}, {"a.md": {"Any": "Thing"}})
        answer = await client.patch("/v1/collections/c/metadata", json={"description": "new", "tags": ["x"],
                                                                        "unknown": 1})
        assert answer.json() == {"message": "Collection c metadata updated successfully.", "collection_name": "c"}
        [shown] = (await client.get("/collections")).json()["collections"]
        info = shown["collection_info"]
        assert (info["description"], info["tags"], info["owner"], info["status"]) == ("new", ["x"], "me", "Active")
        answer = await client.patch("/collections/c/documents/a.md/metadata", json={"description": "a manual"})
        assert answer.json()["message"] == "Document a.md metadata updated successfully."
        [document] = (await client.get("/documents", params={"collection_name": "c"})).json()["documents"]
        assert document["document_info"]["description"] == "a manual"
        assert document["metadata"] == {"filename": "a.md", "Any": "Thing"}
        for path in ("/collections/gone/metadata", "/collections/c/documents/gone.md/metadata"):
            missing = await client.patch(path, json={"description": "x"})
            assert (missing.status_code, "does not exist" in missing.json()["message"]) == (500, True)


async def test_what_a_collection_holds_is_told(ingest: RunIngest) -> None:
    async with ingest() as client:
        made = await client.post("/collection", json={})
        assert made.json()["collection_name"] == "c"
        await upload(client, {"a.md": MANUAL, "t.csv": b"Pump,Flow\nP-1,3\nP-2,4\n", "bad.pdf": b"no"}, {})
        [shown] = (await client.get("/collections")).json()["collections"]
        info = shown["collection_info"]
        assert (info["number_of_files"], info["has_tables"], info["has_charts"], info["has_images"]) == (
            2, True, False, False)
        assert info["ingestion_status"] == "Success"
        assert info["last_ingestion_error"].startswith("bad.pdf: is not a PDF")
        assert info["doc_type_counts"]["table"] == 1


async def test_the_pages_of_a_reply_are_bounded_and_counted(ingest: RunIngest) -> None:
    async with ingest() as client:
        await client.post("/collection", json={})
        await upload(client, {f"{n}.md": b"# N\n\nNumber %d.\n" % n for n in range(5)}, {})
        body = (await client.get("/documents", params={"max_results": 2, "force_get_metadata": True})).json()
        assert (body["total_documents"], [d["document_name"] for d in body["documents"]]) == (5, ["0.md", "1.md"])
        assert (await client.get("/documents", params={"max_results": 0})).status_code == 422
