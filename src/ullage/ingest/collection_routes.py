"""The routes of collections. Each answers at `/x` and at `/v1/x`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Body
from fastapi.responses import JSONResponse

from ullage.errors import NotFound, UllageError
from ullage.ingest.answers import collection_answer, timestamp
from ullage.ingest.requests import CollectionChange, CollectionRequest, DocumentChange
from ullage.ingest.service import IngestService
from ullage.store import CollectionRecord

Names = Annotated[list[str], Body()]


def collection_routes(service: IngestService) -> APIRouter:
    router = APIRouter(tags=["collections"])

    @router.post("/collection")
    async def create(request: CollectionRequest) -> dict[str, Any]:
        name = request.collection_name or service.settings.collection
        made = await service.create_collection(name, request.info(timestamp()), request.metadata_schema)
        message = f"Collection {name} created successfully." if made else f"Collection {name} already exists."
        return {"message": message, "collection_name": name}

    @router.post("/collections", deprecated=True)
    async def create_several(collection_names: Names | None = None) -> dict[str, Any]:
        info = CollectionRequest().info(timestamp())

        async def create_one(name: str) -> None:
            await service.create_collection(name, info)

        outcome = await _each(collection_names or [], create_one)
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

    @router.patch("/collections/{collection_name}/metadata")
    async def change(collection_name: str, request: CollectionChange) -> JSONResponse:
        changes = request.model_dump(exclude_none=True)

        def act() -> None:
            store = service.ready_store()
            info = store.collection(collection_name).info
            store.set_info(collection_name, {**info, **changes, "last_updated": timestamp()})

        return await _changed(collection_name, f"Collection {collection_name}", act)

    @router.patch("/collections/{collection_name}/documents/{document_name:path}/metadata")
    async def change_document(collection_name: str, document_name: str, request: DocumentChange) -> JSONResponse:
        changes = request.model_dump(exclude_none=True)

        def act() -> None:
            service.ready_store().describe_document(collection_name, document_name, changes)

        return await _changed(collection_name, f"Document {document_name}", act)

    return router


async def _changed(collection: str, what: str, act: Callable[[], None]) -> JSONResponse:
    """The contract says 500 of what is not there."""
    try:
        await asyncio.to_thread(act)
    except NotFound as error:
        return JSONResponse({"message": error.message, "collection_name": collection}, 500)
    return JSONResponse({"message": f"{what} metadata updated successfully.", "collection_name": collection})


async def _shown(service: IngestService, record: CollectionRecord) -> dict[str, Any]:
    try:
        documents = await asyncio.to_thread(service.ready_store().documents, record.name)
    except NotFound:
        documents = []
    failed = await asyncio.to_thread(service.opened().ledger.last_failure, record.name)
    return collection_answer(record, documents, failed)


async def _each(names: list[str], act: Callable[[str], Awaitable[None]]) -> dict[str, Any]:
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
