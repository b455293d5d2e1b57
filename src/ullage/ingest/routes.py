"""The ingestor's routes. Each answers at `/x` and at `/v1/x`."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Annotated, Any

from fastapi import APIRouter, Body, File, Form, Query, UploadFile
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from ullage.errors import NotFound, UllageError
from ullage.ingest.answers import (
    STARTED,
    UNKNOWN_TASK,
    CollectionRequest,
    UploadData,
    collection_answer,
    document_answer,
    result_answer,
    status_answer,
    timestamp,
)
from ullage.ingest.service import IngestService
from ullage.store import CollectionRecord, DocumentRecord

Names = Annotated[list[str], Body()]


def document_routes(service: IngestService) -> APIRouter:
    router = APIRouter(tags=["documents"])

    @router.post("/documents")
    async def upload(
        documents: Annotated[list[UploadFile], File()], data: Annotated[str, Form()] = "{}"
    ) -> JSONResponse:
        return await _take(service, documents, data, update=False)

    @router.patch("/documents")
    async def update(
        documents: Annotated[list[UploadFile], File()], data: Annotated[str, Form()] = "{}"
    ) -> JSONResponse:
        return await _take(service, documents, data, update=True)

    @router.get("/documents")
    async def listed(
        collection_name: str | None = None, max_results: Annotated[int, Query(ge=1, le=1_000_000)] = 1000
    ) -> dict[str, Any]:
        collection = collection_name or service.settings.collection
        try:
            records = await asyncio.to_thread(service.ready_store().documents, collection)
        except NotFound as error:
            return {"message": error.message, "total_documents": 0, "documents": []}
        return _listing("Document listing successfully completed.", records[:max_results], len(records))

    @router.delete("/documents")
    async def delete(collection_name: str | None = None, document_names: Names | None = None) -> dict[str, Any]:
        collection = collection_name or service.settings.collection
        return await _delete(service, collection, document_names or [])

    @router.get("/status")
    async def status(task_id: str) -> dict[str, Any]:
        try:
            task = await asyncio.to_thread(service.ready_ledger().task, task_id)
        except NotFound:
            return UNKNOWN_TASK
        return status_answer(task, await _documents_or_none(service, task.collection))

    return router


async def _take(service: IngestService, documents: list[UploadFile], data: str, *, update: bool) -> JSONResponse:
    try:
        said = json.loads(data)
    except ValueError:
        return JSONResponse({"detail": "Invalid JSON format"}, 400)
    try:
        wish = UploadData.model_validate(said)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        return JSONResponse({"detail": faults}, 422)
    collection = wish.collection_name or service.settings.collection
    if not await asyncio.to_thread(service.ready_store().has, collection):
        return JSONResponse(
            {
                "message": f"Ingestion of files failed with error: Collection {collection} does not exist. "
                "Ensure a collection is created using POST /collection endpoint first."
            },
            500,
        )
    task = await service.uploads().take(documents, wish, collection, update=update)
    service.worker().wake()
    if not wish.blocking:
        return JSONResponse({"message": STARTED, "task_id": task.id})
    done = await service.worker().wait(task.id)
    return JSONResponse(result_answer(done, await _documents_or_none(service, collection)))


async def _documents_or_none(service: IngestService, collection: str) -> list[DocumentRecord]:
    """None of a collection that is gone meanwhile."""
    try:
        return await asyncio.to_thread(service.ready_store().documents, collection)
    except NotFound:
        return []


async def _delete(service: IngestService, collection: str, names: list[str]) -> dict[str, Any]:
    store = service.ready_store()
    known = {record.name: record for record in await asyncio.to_thread(store.documents, collection)}
    missing = [name for name in names if name not in known]
    gone = [name for name in dict.fromkeys(names) if name in known]
    for name in gone:
        await asyncio.to_thread(store.delete_document, collection, name)
    message = "Files deleted successfully"
    if missing:
        message = f"The following document(s) do not exist in the vectorstore: {', '.join(missing)}"
    return _listing(message, [known[name] for name in gone], len(gone))


def _listing(message: str, records: list[DocumentRecord], total: int) -> dict[str, Any]:
    return {
        "message": message,
        "total_documents": total,
        "documents": [document_answer(record) for record in records],
    }


def collection_routes(service: IngestService) -> APIRouter:
    router = APIRouter(tags=["collections"])

    @router.post("/collection")
    async def create(request: CollectionRequest) -> dict[str, Any]:
        name = request.collection_name
        made = await service.create_collection(name, request.info(timestamp()))
        message = f"Collection {name} created successfully." if made else f"Collection {name} already exists."
        return {"message": message, "collection_name": name}

    @router.post("/collections", deprecated=True)
    async def create_several(collection_names: Names | None = None) -> dict[str, Any]:
        info = {"status": "Active", "date_created": timestamp()}
        outcome = await _each(collection_names or [], lambda name: service.create_collection(name, info))
        return {"message": "Collection creation process completed.", **outcome}

    @router.get("/collections")
    async def listed() -> dict[str, Any]:
        records = await asyncio.to_thread(service.ready_store().collections)
        shown = [await _shown(service, record) for record in records]
        return {
            "message": "Collections listed successfully.",
            "total_collections": len(shown),
            "collections": shown,
        }

    @router.delete("/collections")
    async def delete(collection_names: Names | None = None) -> dict[str, Any]:
        outcome = await _each(collection_names or [], service.drop_collection)
        return {"message": "Collection deletion process completed.", **outcome}

    return router


async def _shown(service: IngestService, record: CollectionRecord) -> dict[str, Any]:
    return collection_answer(record, await _documents_or_none(service, record.name))


async def _each(names: list[str], act: Any) -> dict[str, Any]:
    """Do it for each name; one that cannot be done is said and does not stop the rest."""
    successful: list[str] = []
    failed: list[dict[str, str]] = []
    for name in names:
        try:
            await act(name)
        except UllageError as error:
            failed.append({"collection_name": name, "error_message": error.message})
        else:
            successful.append(name)
    return {
        "successful": successful,
        "failed": failed,
        "total_success": len(successful),
        "total_failed": len(failed),
    }


def health_routes(service: IngestService) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def health(check_dependencies: bool = False) -> dict[str, Any]:
        """Always 200: whether this service is ready is said by `/v1/health/ready`."""
        body: dict[str, Any] = {"message": "Service is up."}
        body |= {part: [] for part in ("databases", "object_storage", "nim", "processing", "task_management")}
        if check_dependencies:
            body["databases"] = [await _database_health(service)]
            body["nim"] = [await _embedding_health(service)]
        return body

    return router


async def _database_health(service: IngestService) -> dict[str, Any]:
    begun = time.perf_counter()
    error, collections = None, 0
    try:
        collections = await asyncio.to_thread(service.ready_store().ping)
    except UllageError as refusal:
        error = refusal.message
    return {
        "service": "Milvus",
        "url": service.settings.url("vectors"),
        "status": "unhealthy" if error else "healthy",
        "latency_ms": round((time.perf_counter() - begun) * 1e3, 2),
        "error": error,
        "collections": collections,
    }


async def _embedding_health(service: IngestService) -> dict[str, Any]:
    begun = time.perf_counter()
    ready = await service.embedder.ready()
    url = service.settings.url("embedding")
    return {
        "service": "Embeddings",
        "url": url,
        "status": "healthy" if ready else "unhealthy",
        "latency_ms": round((time.perf_counter() - begun) * 1e3, 2),
        "error": None if ready else f"embedding at {url} is not ready",
        "model": service.made_by_name,
        "message": "",
        "http_status": 200 if ready else 503,
    }
