"""What is kept: vectors and passages (Milvus), uploaded files, and the ledgers of tasks and summaries."""

from ullage.store.filters import fields_of, filter_expression
from ullage.store.ledger import FileRecord, Ledger, TaskRecord
from ullage.store.metadata import MetadataField
from ullage.store.objects import ObjectFolder, PageFolder, StoredObject
from ullage.store.passage import PLACE_KEYS, Chunk, CollectionRecord, DocumentRecord, Hit, chunk_id
from ullage.store.portable import export_collection, import_collection
from ullage.store.summaries import Summary, SummaryLedger
from ullage.store.vectors import VectorStore

__all__ = [
    "PLACE_KEYS",
    "Chunk",
    "CollectionRecord",
    "DocumentRecord",
    "FileRecord",
    "Hit",
    "Ledger",
    "MetadataField",
    "ObjectFolder",
    "PageFolder",
    "StoredObject",
    "Summary",
    "SummaryLedger",
    "TaskRecord",
    "VectorStore",
    "chunk_id",
    "export_collection",
    "fields_of",
    "filter_expression",
    "import_collection",
]
