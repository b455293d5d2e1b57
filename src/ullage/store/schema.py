"""How a collection is laid out in Milvus, and how rows become chunks and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
from pymilvus import DataType, MilvusClient

from ullage.errors import DocumentRefused
from ullage.store.filters import HELD, held
from ullage.store.lexical import passage_weights
from ullage.store.metadata import MetadataField
from ullage.store.passage import PLACE_KEYS, Chunk, CollectionRecord, DocumentRecord

TEXT_BYTES = 65_535
NAME_BYTES = 1024
PATH_BYTES = 4096
PROPERTY = "ullage.collection"
"""A collection property holding JSON: `embedder`, `dimension`, `info`, `schema`, `lexical`."""

CHUNK_FIELDS = ["text", "document", "content_hash", "ordinal", "page", "path", "type", "created_s", "metadata"]
DOCUMENT_FIELDS = ["document", "content_hash", "created_s", "metadata"]


def collection_schema(dimension: int, *, sparse: bool) -> Any:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("text", DataType.VARCHAR, max_length=TEXT_BYTES)
    schema.add_field("document", DataType.VARCHAR, max_length=NAME_BYTES)
    schema.add_field("content_hash", DataType.VARCHAR, max_length=64)
    schema.add_field("ordinal", DataType.INT64)
    schema.add_field("page", DataType.INT64)
    schema.add_field("path", DataType.VARCHAR, max_length=PATH_BYTES)
    schema.add_field("type", DataType.VARCHAR, max_length=32)
    schema.add_field("created_s", DataType.DOUBLE)
    schema.add_field("metadata", DataType.JSON)
    if sparse:
        schema.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    schema.add_field("dense", DataType.FLOAT_VECTOR, dim=dimension)
    return schema


def indexes(*, sparse: bool) -> Any:
    """Exact search over dense vectors: at the sizes one machine holds, an approximate index saves little."""
    params = MilvusClient.prepare_index_params()
    params.add_index("dense", index_type="FLAT", metric_type="COSINE")
    if sparse:
        params.add_index("sparse", index_type="SPARSE_INVERTED_INDEX", metric_type="IP")
    return params


def property_text(record: CollectionRecord) -> str:
    fields = [field.model_dump() for field in record.schema]
    return json.dumps({"embedder": record.embedder, "dimension": record.dimension, "info": record.info,
                       "schema": fields, "lexical": record.lexical})


def record_of(name: str, text: str, chunks: int) -> CollectionRecord:
    """What `property_text` says, and how many chunks there are."""
    said = json.loads(text)
    fields = tuple(MetadataField.model_validate(field) for field in said.get("schema", ()))
    return CollectionRecord(name, said["embedder"], int(said["dimension"]), chunks, said.get("info") or {}, fields,
                            bool(said.get("lexical", True)))


def row_of(chunk: Chunk, vector: Any, *, sparse: bool) -> dict[str, Any]:
    """A row for Milvus. Raises DocumentRefused when a text is longer than a field holds."""
    path = json.dumps(chunk.path, ensure_ascii=False)
    while len(path.encode()) > PATH_BYTES:
        chunk_path = json.loads(path)[:-1]
        path = json.dumps(chunk_path, ensure_ascii=False)
    for name, value, limit in (("text", chunk.text, TEXT_BYTES), ("document", chunk.document, NAME_BYTES)):
        if len(value.encode()) > limit:
            raise DocumentRefused(f"{chunk.document[:80]}: the {name} of chunk {chunk.ordinal} has "
                                  f"{len(value.encode())} bytes, {limit} at most: lower chunk_tokens or shorten it")
    row = {
        "id": chunk.id,
        "text": chunk.text,
        "document": chunk.document,
        "content_hash": chunk.content_hash,
        "ordinal": chunk.ordinal,
        "page": chunk.page,
        "path": path,
        "type": chunk.type,
        "created_s": chunk.created_s,
        "metadata": {**chunk.metadata, HELD: held(chunk.metadata)},
        "dense": np.asarray(vector, np.float32),
    }
    return {**row, "sparse": passage_weights(chunk.text)} if sparse else row


def chunk_of(entity: Mapping[str, Any]) -> Chunk:
    """The chunk of a row that was asked for CHUNK_FIELDS."""
    return Chunk(
        document=str(entity["document"]),
        content_hash=str(entity["content_hash"]),
        ordinal=int(entity["ordinal"]),
        text=str(entity["text"]),
        page=int(entity["page"]),
        path=tuple(orjson.loads(entity["path"])),
        type=str(entity["type"]),
        created_s=float(entity["created_s"]),
        metadata=metadata_of(entity["metadata"]),
    )


def metadata_of(stored: Any) -> dict[str, Any]:
    """As it was before it was stored."""
    said = json.loads(stored) if isinstance(stored, str | bytes) else dict(stored)
    return {key: value for key, value in said.items() if key != HELD}


def document_of(row: Mapping[str, Any]) -> DocumentRecord:
    """From the row of a document's first chunk."""
    said = metadata_of(row["metadata"])
    info = said.pop("document", {})
    return DocumentRecord(
        name=str(row["document"]),
        content_hash=str(row["content_hash"]),
        chunks=int(info.get("chunks", 0)),
        created_s=float(row["created_s"]),
        metadata={key: value for key, value in said.items() if key not in PLACE_KEYS},
        info=info,
    )


def literal(text: str) -> str:
    """A string literal of Milvus's filter language. Placeholders in filters are not understood by Milvus Lite."""
    return json.dumps(text, ensure_ascii=False)
