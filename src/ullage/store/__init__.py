"""What is kept: vectors and passages (Milvus), uploaded files, and the ledger of ingestion tasks."""

from ullage.store.ledger import FileRecord, Ledger, TaskRecord
from ullage.store.objects import ObjectFolder, StoredObject
from ullage.store.passage import Chunk, CollectionRecord, DocumentRecord, Hit, chunk_id
from ullage.store.vectors import VectorStore

__all__ = [
    "Chunk",
    "CollectionRecord",
    "DocumentRecord",
    "FileRecord",
    "Hit",
    "Ledger",
    "ObjectFolder",
    "StoredObject",
    "TaskRecord",
    "VectorStore",
    "chunk_id",
]
