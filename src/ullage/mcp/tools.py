"""The twelve tools: each asks the RAG server or the ingestor, as any of their clients would, and tells what it says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from ullage.clients.ingest import IngestClient
from ullage.clients.rag import RagClient, text_of
from ullage.errors import DeadlineExceeded, InvalidRequest
from ullage.mcp.arguments import (
    Arguments,
    CollectionMetadata,
    CreateCollection,
    DeleteCollections,
    DeleteDocuments,
    DocumentMetadata,
    Generate,
    GetSummary,
    ListCollections,
    OfCollection,
    Search,
    Update,
    Upload,
)
from ullage.mcp.files import Files

POLL_S = 0.1
LONGEST_POLL_S = 2.0


@dataclass(frozen=True, slots=True)
class Servers:
    """What the tools talk to. `patience_s` is how long an upload is waited for."""

    rag: RagClient
    ingest: IngestClient
    files: Files
    patience_s: float

    async def close(self) -> None:
        await self.rag.close()
        await self.ingest.close()


@dataclass(frozen=True, slots=True)
class Told:
    """What a tool answers: `text` for a model, `data` for a program."""

    text: str
    data: dict[str, Any]

    @classmethod
    def of(cls, data: dict[str, Any]) -> Told:
        return cls(json.dumps(data, ensure_ascii=False), data)


@dataclass(frozen=True, slots=True)
class Tool:
    """`act` gets validated arguments of type `takes`; it raises UllageError. `reads`: it changes nothing; `destroys`:
    what it changes cannot be had back."""

    name: str
    about: str
    takes: type[Arguments]
    act: Callable[[Servers, Any], Awaitable[Told]]
    reads: bool = False
    destroys: bool = False


async def generate(servers: Servers, given: Generate) -> Told:
    text = ""
    citations: list[Any] = []
    last: dict[str, Any] = {}
    async with aclosing(servers.rag.generate(given.body())) as chunks:
        async for chunk in chunks:
            text += text_of(chunk)
            citations = citations or (chunk.get("citations") or {}).get("results") or []
            last = chunk
    data = {name: last.get(name) for name in ("usage", "metrics", "grounding", "degraded")}
    return Told(text, {"answer": text, "citations": citations, **data})


async def search(servers: Servers, given: Search) -> Told:
    return Told.of(await servers.rag.search(given.body()))


async def get_summary(servers: Servers, given: GetSummary) -> Told:
    async def look() -> dict[str, Any]:
        where = {"collection_name": given.collection_name, "file_name": given.file_name}
        found: dict[str, Any] = await servers.ingest.ask("GET", "/v1/summary", **where)
        return found

    found = await _until_over(look, "status", given.timeout if given.blocking else 0.0)
    if given.blocking and _waits(found, "status"):
        raise DeadlineExceeded(f"the summary of {given.file_name} was not there within {given.timeout:g} s: "
                               f"{found.get('message', '')}")
    return Told.of(found)


async def get_documents(servers: Servers, given: OfCollection) -> Told:
    return Told.of(await servers.ingest.ask("GET", "/v1/documents", collection_name=given.collection_name))


async def delete_documents(servers: Servers, given: DeleteDocuments) -> Told:
    return Told.of(await servers.ingest.ask("DELETE", "/v1/documents", body=given.document_names,
                                            collection_name=given.collection_name))


async def upload_documents(servers: Servers, given: Upload) -> Told:
    return await _send(servers, given, update=False)


async def update_documents(servers: Servers, given: Update) -> Told:
    return await _send(servers, given, update=True)


async def _send(servers: Servers, given: Upload, *, update: bool) -> Told:
    """The result of the upload; a task that is not over after `patience_s`, or is not waited for, goes on."""
    files = servers.files.chosen(given.file_paths)
    data = given.body("file_paths", "blocking") | {"blocking": False, "generate_summary": given.generate_summary}
    try:
        started = await servers.ingest.send(files, data, update=update)
    except OSError as error:
        raise InvalidRequest(f"{error.filename} cannot be read: {error.strerror}; nothing was sent") from None
    if not given.blocking:
        return Told.of(started)
    task_id = started["task_id"]
    task = await _until_over(lambda: servers.ingest.status(task_id), "state", servers.patience_s)
    if _waits(task, "state"):
        said = f"Still being ingested after {servers.patience_s:g} s; get_documents lists a file once it is searchable."
        return Told.of({"message": said, "task_id": task_id, "state": "PENDING"})
    return Told.of({**task["result"], "task_id": task_id, "state": task["state"]})


async def _until_over(look: Callable[[], Awaitable[dict[str, Any]]], field: str, seconds: float) -> dict[str, Any]:
    """What `look` finds once it waits no more, or after so many seconds."""
    clock = asyncio.get_running_loop().time
    until, pause_s = clock() + seconds, POLL_S
    found = await look()
    while _waits(found, field) and clock() < until:
        await asyncio.sleep(min(pause_s, max(0.0, until - clock())))
        pause_s = min(LONGEST_POLL_S, pause_s * 1.5)
        found = await look()
    return found


def _waits(found: dict[str, Any], field: str) -> bool:
    return found.get(field) in ("PENDING", "IN_PROGRESS")


async def list_collections(servers: Servers, _: ListCollections) -> Told:
    return Told.of(await servers.ingest.ask("GET", "/v1/collections"))


async def update_collection_metadata(servers: Servers, given: CollectionMetadata) -> Told:
    path = f"/v1/collections/{_part(given.collection_name)}/metadata"
    return Told.of(await servers.ingest.ask("PATCH", path, body=given.body("collection_name")))


async def update_document_metadata(servers: Servers, given: DocumentMetadata) -> Told:
    path = f"/v1/collections/{_part(given.collection_name)}/documents/{_part(given.document_name)}/metadata"
    return Told.of(await servers.ingest.ask("PATCH", path, body=given.body("collection_name", "document_name")))


def _part(name: str) -> str:
    return quote(name, safe="")


async def create_collection(servers: Servers, given: CreateCollection) -> Told:
    return Told.of(await servers.ingest.ask("POST", "/v1/collection", body=given.body()))


async def delete_collections(servers: Servers, given: DeleteCollections) -> Told:
    return Told.of(await servers.ingest.ask("DELETE", "/v1/collections", body=given.collection_names))


TOOLS = (
    Tool("generate", "Answer a question from the documents, with citations; each sentence is checked against them.",
         Generate, generate, reads=True),
    Tool("search", "Find the passages of the documents that fit a question best.", Search, search, reads=True),
    Tool("get_summary", "The summary of a document, if one was asked for when it was uploaded.", GetSummary,
         get_summary, reads=True),
    Tool("get_documents", "List the documents of a collection.", OfCollection, get_documents, reads=True),
    Tool("delete_documents", "Delete documents from a collection.", DeleteDocuments, delete_documents, destroys=True),
    Tool("update_documents", "Replace documents that are already there by files with the same names.", Update,
         update_documents, destroys=True),
    Tool("list_collections", "List all collections.", ListCollections, list_collections, reads=True),
    Tool("update_collection_metadata", "Change the catalogue entry of a collection; what is left out stays.",
         CollectionMetadata, update_collection_metadata),
    Tool("update_document_metadata", "Change the catalogue entry of a document; what is left out stays.",
         DocumentMetadata, update_document_metadata),
    Tool("create_collection", "Create a collection; one that exists stays as it is.", CreateCollection,
         create_collection),
    Tool("delete_collections", "Delete collections with all their documents.", DeleteCollections, delete_collections,
         destroys=True),
    Tool("upload_documents", "Read files into a collection. A name that is already there is refused.", Upload,
         upload_documents),
)
