"""The bodies of the ingestor API (RAG Blueprint 2.6): what a request may say and how answers look.

Unknown fields of requests are ignored, as clients of several versions send more than this one reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, Field, field_validator

from ullage.store import CollectionRecord, DocumentRecord, FileRecord, TaskRecord

STARTED = "Ingestion started in background"
COMPLETED = "Document upload job successfully completed."
ALL_FAILED = "Document upload job failed. All files failed to validate. Check logs for details."


class SplitOptions(BaseModel):
    chunk_size: Annotated[int, Field(ge=16, le=8192)] | None = None
    chunk_overlap: Annotated[int, Field(ge=0, le=4096)] | None = None


class CustomMetadata(BaseModel):
    filename: str
    metadata: dict[str, Any] = Field(default_factory=dict)


class CatalogMetadata(BaseModel):
    filename: str
    description: str = ""
    tags: list[str] = Field(default_factory=list)


class UploadData(BaseModel):
    """The `data` part of an upload. What this server does not do yet is refused, not ignored."""

    collection_name: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    blocking: bool = False
    split_options: SplitOptions = Field(default_factory=SplitOptions)
    custom_metadata: list[CustomMetadata] = Field(default_factory=list)
    documents_catalog_metadata: list[CatalogMetadata] = Field(default_factory=list)
    generate_summary: bool = False

    @field_validator("generate_summary")
    @classmethod
    def _no_summaries(cls, value: bool) -> bool:
        if value:
            raise ValueError("summaries are not available in this version: send generate_summary=false")
        return value


class CollectionRequest(BaseModel):
    collection_name: Annotated[str, Field(min_length=1, max_length=255)]
    metadata_schema: list[dict[str, Any]] = Field(default_factory=list)
    description: str = ""
    tags: list[str] = Field(default_factory=list)
    owner: str = ""
    created_by: str = ""
    business_domain: str = ""
    status: str = "Active"

    @field_validator("metadata_schema")
    @classmethod
    def _no_schema(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if value:
            raise ValueError("metadata schemas are not available in this version: send an empty list")
        return value

    def info(self, now: str) -> dict[str, Any]:
        said = self.model_dump(exclude={"collection_name", "metadata_schema"})
        return {**said, "date_created": now}


def timestamp(seconds: float | None = None) -> str:
    """ISO 8601 in UTC, now by default."""
    when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return when.isoformat(timespec="seconds").replace("+00:00", "Z")


def document_answer(record: DocumentRecord) -> dict[str, Any]:
    info = record.info
    return {
        "document_name": record.name,
        "metadata": record.metadata,
        "document_info": {
            "description": info.get("description", ""),
            "tags": info.get("tags", []),
            "document_type": PurePosixPath(record.name).suffix.lower().removeprefix("."),
            "file_size": info.get("bytes", 0),
            "date_created": timestamp(record.created_s),
            "doc_type_counts": {"text": record.chunks},
            "total_elements": record.chunks,
            "raw_text_elements_size": info.get("characters", 0),
            "number_of_pages": info.get("pages", 1),
            "chunk_tokens": info.get("chunk_tokens", 0),
            "chunk_overlap": info.get("chunk_overlap", 0),
            "warnings": info.get("warnings", []),
        },
    }


def collection_answer(record: CollectionRecord, documents: Sequence[DocumentRecord]) -> dict[str, Any]:
    newest = max((document.created_s for document in documents), default=None)
    info = {
        **record.info,
        "number_of_files": len(documents),
        "last_indexed": "" if newest is None else timestamp(newest),
        "last_updated": record.info.get("date_created", "") if newest is None else timestamp(newest),
        "ingestion_status": "Success" if documents else "",
        "has_tables": any(document.info.get("blocks", {}).get("table") for document in documents),
        "has_charts": False,
        "has_images": False,
        "doc_type_counts": {"text": record.chunks},
        "total_elements": record.chunks,
        "raw_text_elements_size": sum(int(document.info.get("characters", 0)) for document in documents),
        "embedding_model": record.embedder,
        "embedding_dimension": record.dimension,
    }
    return {
        "collection_name": record.name,
        "num_entities": record.chunks,
        "metadata_schema": [],
        "collection_info": info,
    }


def result_answer(task: TaskRecord, documents: Sequence[DocumentRecord]) -> dict[str, Any]:
    """The outcome of an upload so far. Files count as completed and as failed once each."""
    names = {file.name for file in task.files if file.state == "FINISHED"}
    failed = [file for file in task.files if file.state in ("FAILED", "CANCELLED")]
    known = {record.name: document_answer(record) for record in documents}
    gone: dict[str, Any] = {"metadata": {}, "document_info": {}}
    completed = [known.get(name, {"document_name": name, **gone}) for name in sorted(names)]
    validation_errors = task.options.get("validation_errors", [])
    return {
        "message": ALL_FAILED if task.state in ("FAILED", "CANCELLED") else COMPLETED,
        "total_documents": len(task.files),
        "documents_completed": len(completed),
        "batches_completed": 1 if completed else 0,
        "documents": completed,
        "failed_documents": [{"document_name": file.name, "error_message": file.error} for file in failed],
        "validation_errors": validation_errors,
    }


def status_answer(task: TaskRecord, documents: Sequence[DocumentRecord]) -> dict[str, Any]:
    """`document_wise_status` maps each file to its state with pages and chunks done."""
    state = {"RUNNING": "PENDING", "CANCELLED": "FAILED"}.get(task.state, task.state)
    result = result_answer(task, documents)
    if state == "PENDING":
        result["message"] = "Ingestion is in progress"
    return {
        "state": state,
        "result": result,
        "nv_ingest_status": {
            "extraction_completed": sum(file.pages_total > 0 for file in task.files),
            "document_wise_status": {file.name: file_status(file) for file in task.files},
        },
    }


def file_status(file: FileRecord) -> dict[str, Any]:
    return {
        "state": file.state,
        "pages_done": file.pages_done,
        "pages_total": file.pages_total,
        "chunks_done": file.chunks_done,
        "chunks_total": file.chunks_total,
        "error": file.error,
        "warnings": list(file.warnings),
    }


UNKNOWN_TASK: dict[str, Any] = {
    "state": "UNKNOWN",
    "result": {"message": "Unknown task"},
    "nv_ingest_status": {"extraction_completed": 0, "document_wise_status": {}},
}
