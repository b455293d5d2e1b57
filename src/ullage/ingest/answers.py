"""The bodies of the ingestor API (RAG Blueprint 2.6): how answers look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from ullage.store import CollectionRecord, DocumentRecord, FileRecord, Summary, TaskRecord
from ullage.store.metadata import shown
from ullage.store.summaries import summary_answer

STARTED = "Ingestion started in background"
COMPLETED = "Document upload job successfully completed."
ALL_FAILED = "Document upload job failed. All files failed to validate. Check logs for details."
CANCELLED = "Document upload job was cancelled."
IN_PROGRESS = "Ingestion is in progress"
NOTHING: dict[str, Any] = {"metadata": {}, "document_info": {}}


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
            "doc_type_counts": type_counts(record),
            "total_elements": record.chunks,
            "raw_text_elements_size": info.get("characters", 0),
            "number_of_pages": info.get("pages", 1),
            "chunk_tokens": info.get("chunk_tokens", 0),
            "chunk_overlap": info.get("chunk_overlap", 0),
            "warnings": info.get("warnings", []),
        },
    }


def type_counts(record: DocumentRecord) -> dict[str, int]:
    """Elements of each kind in a document: tables, charts and pictures as they were read, and pieces of text."""
    blocks = record.info.get("blocks", {})
    found = {kind: int(blocks[kind]) for kind in ("table", "chart", "image") if blocks.get(kind)}
    return {"text": max(0, record.chunks - sum(found.values())), **found}


def collection_answer(record: CollectionRecord, documents: Sequence[DocumentRecord], failed: str) -> dict[str, Any]:
    """`failed` is why the last ingestion into it failed, if it did."""
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(type_counts(document))
    newest = max((document.created_s for document in documents), default=None)
    info = {
        **record.info,
        "number_of_files": len(documents),
        "last_indexed": "" if newest is None else timestamp(newest),
        "last_updated": max(record.info.get("last_updated", record.info.get("date_created", "")),
                            "" if newest is None else timestamp(newest)),
        "ingestion_status": "Success" if documents else "Failed" if failed else "",
        "last_ingestion_error": failed,
        "has_tables": counts["table"] > 0,
        "has_charts": counts["chart"] > 0,
        "has_images": counts["image"] > 0,
        "doc_type_counts": dict(counts),
        "total_elements": record.chunks,
        "raw_text_elements_size": sum(int(document.info.get("characters", 0)) for document in documents),
        "embedding_model": record.embedder,
        "embedding_dimension": record.dimension,
    }
    return {
        "collection_name": record.name,
        "num_entities": record.chunks,
        "metadata_schema": shown(record.schema),
        "collection_info": info,
    }


def result_answer(task: TaskRecord, documents: Sequence[DocumentRecord]) -> dict[str, Any]:
    """The outcome of an upload so far. Files count as completed and as failed once each."""
    names = sorted({file.name for file in task.files if file.state == "FINISHED"})
    failed = [file for file in task.files if file.state in ("FAILED", "CANCELLED")]
    known = {record.name: document_answer(record) for record in documents}
    return {
        "message": {"FAILED": ALL_FAILED, "CANCELLED": CANCELLED, "FINISHED": COMPLETED}.get(task.state, IN_PROGRESS),
        "total_documents": len(task.files),
        "documents_completed": len(names),
        "batches_completed": 1 if names else 0,
        "documents": [known.get(name, {"document_name": name, **NOTHING}) for name in names],
        "failed_documents": [{"document_name": file.name, "error_message": file.error} for file in failed],
        "validation_errors": task.options.get("validation_errors", []),
    }


def status_answer(task: TaskRecord, documents: Sequence[DocumentRecord]) -> dict[str, Any]:
    """`document_wise_status` maps each file to its state with pages and chunks done.

    The contract knows no state for a task that runs, nor for one that was cancelled: they are PENDING and FAILED.
    """
    return {
        "state": {"RUNNING": "PENDING", "CANCELLED": "FAILED"}.get(task.state, task.state),
        "result": result_answer(task, documents),
        "nv_ingest_status": {
            "extraction_completed": sum(file.pages_total > 0 and file.pages_done >= file.pages_total
                                        for file in task.files),
            "document_wise_status": {file.name: file_status(file) for file in task.files},
        },
    }


def task_answer(task: TaskRecord, counts: dict[str, int]) -> dict[str, Any]:
    """One line of the list of tasks."""
    return {
        "task_id": task.id,
        "collection_name": task.collection,
        "state": task.state,
        "date_created": timestamp(task.created_s),
        "last_updated": timestamp(task.updated_s),
        "files": {state.lower(): number for state, number in sorted(counts.items())},
    }


def summary_told(collection: str, document: str, found: Summary | None) -> tuple[dict[str, Any], int]:
    """The body and the HTTP status that goes with it; of a summary that was made, also what was left out."""
    body, status = summary_answer(collection, document, found, timestamp)
    if status == 200 and found is not None and found.message:
        body["message"] += f" ({found.message})"
    return body, status


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
