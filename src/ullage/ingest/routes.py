"""The routes of documents and tasks. Each answers at `/x` and at `/v1/x`."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Any

from fastapi import APIRouter, Body, File, Form, Query, Request, UploadFile
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from ullage.errors import NotFound, UllageError
from ullage.ingest.answers import (
    STARTED,
    UNKNOWN_TASK,
    document_answer,
    result_answer,
    status_answer,
    summary_told,
    task_answer,
)
from ullage.ingest.requests import UploadData
from ullage.ingest.retry import retry
from ullage.ingest.service import IngestService
from ullage.store import DocumentRecord, TaskRecord

Names = Annotated[list[str], Body()]
LONGEST_WAIT_S = 3600


def document_routes(service: IngestService) -> APIRouter:
    router = APIRouter(tags=["documents"])

    @router.post("/documents")
    async def upload(
        request: Request, documents: Annotated[list[UploadFile], File()], data: Annotated[str, Form()] = "{}"
    ) -> JSONResponse:
        return await _take(service, request, documents, data, update=False)

    @router.patch("/documents")
    async def update(
        request: Request, documents: Annotated[list[UploadFile], File()], data: Annotated[str, Form()] = "{}"
    ) -> JSONResponse:
        return await _take(service, request, documents, data, update=True)

    @router.get("/documents")
    async def listed(
        collection_name: str | None = None,
        force_get_metadata: bool = False,  # noqa: ARG001  (metadata are always there)
        max_results: Annotated[int, Query(ge=1, le=1_000_000)] = 1000,
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

    @router.get("/summary")
    async def summary(
        file_name: str,
        collection_name: str | None = None,
        blocking: bool = False,
        timeout: float = 300,  # noqa: ASYNC109  (the contract's name)
    ) -> JSONResponse:
        collection = collection_name or service.settings.collection
        if timeout <= 0:
            return JSONResponse({"message": f"timeout={timeout:g} must be more than 0 seconds"}, 400)
        wait_s = min(timeout, LONGEST_WAIT_S) if blocking else 0.0
        found = await service.opened().summariser.find(collection, file_name, wait_s=wait_s)
        body, status = summary_told(collection, file_name, found)
        if blocking and status == 202:
            body, status = {**body, "message": f"Timed out after {wait_s:g} s: {body['message']}"}, 408
        return JSONResponse(body, status)

    return router


def task_routes(service: IngestService) -> APIRouter:
    router = APIRouter(tags=["tasks"])

    @router.get("/status")
    async def status(task_id: str) -> dict[str, Any]:
        try:
            task = await asyncio.to_thread(service.opened().ledger.task, task_id)
        except NotFound:
            return UNKNOWN_TASK
        return status_answer(task, await _documents_of(service, task))

    @router.get("/tasks")
    async def tasks(limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> dict[str, Any]:
        """The newest first. Not in the replaced stack."""
        found = await asyncio.to_thread(service.opened().ledger.tasks, limit)
        return {"message": "Tasks listed successfully.", "tasks": [task_answer(*one) for one in found]}

    @router.post("/tasks/{task_id}/cancel")
    async def cancel(task_id: str, document_name: str | None = None) -> dict[str, Any]:
        """All files of the task that are not finished, or one. Not in the replaced stack."""
        files = await service.opened().worker.cancel(task_id, document_name)
        return {"message": f"{len(files)} files cancelled.", "task_id": task_id,
                "cancelled": [file.name for file in files]}

    @router.post("/tasks/{task_id}/retry")
    async def again(task_id: str, document_name: str | None = None) -> dict[str, Any]:
        """All files of the task that failed or were cancelled, or one. Not in the replaced stack."""
        done = await retry(service.opened(), task_id, document_name)
        refused = [{"document_name": name, "error_message": why} for name, why in done.refused]
        return {"message": f"{len(done.names)} files are ingested again.", "task_id": task_id,
                "retried": list(done.names), "failed_documents": refused}

    return router


async def _take(
    service: IngestService, request: Request, documents: list[UploadFile], data: str, *, update: bool
) -> JSONResponse:
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
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
    opened = service.opened()
    task = await opened.uploads.take(documents, wish, collection, update=update)
    opened.worker.wake()
    # The bytes are on the disk: who only waits for the end does not keep others from uploading.
    request.state.upload_read()
    if not wish.blocking:
        return JSONResponse({"message": STARTED, "task_id": task.id})
    done = await opened.worker.wait(task.id)
    return JSONResponse({**result_answer(done, await _documents_of(service, done)), "task_id": task.id})


async def _documents_of(service: IngestService, task: TaskRecord) -> list[DocumentRecord]:
    """What a task that is over brought in, as far as it is still there."""
    if task.state in ("PENDING", "RUNNING"):
        return []
    names = [file.name for file in task.files if file.state == "FINISHED"]
    try:
        return await asyncio.to_thread(service.ready_store().documents, task.collection, names)
    except UllageError:
        return []


async def _delete(service: IngestService, collection: str, names: list[str]) -> dict[str, Any]:
    store, summariser = service.ready_store(), service.opened().summariser
    wanted = list(dict.fromkeys(names))
    known = {record.name: record for record in await asyncio.to_thread(store.documents, collection, wanted)}
    missing = [name for name in wanted if name not in known]
    for name in known:
        await asyncio.to_thread(store.delete_document, collection, name)
        await summariser.forget(collection, name)
    if known:
        await asyncio.to_thread(service.opened().kept.sweep)
    message = "Files deleted successfully"
    if missing:
        message = f"The following document(s) do not exist in the vectorstore: {', '.join(missing)}"
    return _listing(message, [known[name] for name in wanted if name in known], len(known))


def _listing(message: str, records: list[DocumentRecord], total: int) -> dict[str, Any]:
    return {
        "message": message,
        "total_documents": total,
        "documents": [document_answer(record) for record in records],
    }
