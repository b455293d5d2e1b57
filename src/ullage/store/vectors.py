"""Passages and their vectors, in a Milvus server or in Milvus Lite: one code path, chosen by the URI."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pymilvus.exceptions import MilvusException

from ullage.errors import DependencyDown, InvalidRequest, SettingsError
from ullage.store.lexical import query_weights
from ullage.store.milvus import NOT_LOADED, Connection, missing
from ullage.store.passage import Chunk, CollectionRecord, DocumentRecord, Hit
from ullage.store.schema import (
    CHUNK_FIELDS,
    PROPERTY,
    chunk_of,
    collection_schema,
    indexes,
    literal,
    property_text,
    row_of,
)

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
RRF_K = 60
ROWS_PER_WRITE = 256
ROWS_PER_READ = 1000
ROWS_BEFORE_SEAL = 512


class VectorStore:
    """Sync and thread-safe; call it from async code through `asyncio.to_thread`. Writes take turns, as Lite requires.

    What a write acknowledged survives a kill of the server: it is in the server's log file before the answer.
    Raises DependencyDown, NotFound for a missing collection, InvalidRequest.
    """

    def __init__(self, uri: str, *, timeout_s: float = 30.0, token: str = "") -> None:
        self._connection = Connection(uri, timeout_s=timeout_s, token=token)
        self._timeout_s = timeout_s
        self._writes = threading.Lock()
        self._unsealed: dict[str, int] = {}

    @property
    def uri(self) -> str:
        return self._connection.uri

    def close(self) -> None:
        self._connection.close()

    def ping(self) -> int:
        """The number of collections. Raises DependencyDown when the database does not answer."""
        return len(self._call("", lambda client: client.list_collections(timeout=self._timeout_s)))

    def has(self, collection: str) -> bool:
        return bool(self._call(collection, lambda c: c.has_collection(collection, timeout=self._timeout_s)))

    def create_collection(
        self, collection: str, *, embedder: str, dimension: int, info: Mapping[str, Any] | None = None
    ) -> bool:
        """False when it exists already. Strong consistency: what was written is found by the next search."""
        if not NAME.fullmatch(collection):
            raise InvalidRequest(f"collection name {collection[:80]!r} is not possible: use 1 to 255 letters, digits "
                                 "and underscores, not beginning with a digit")
        text = property_text(embedder, dimension, info or {})
        with self._writes:
            if self.has(collection):
                return False
            self._call(
                collection,
                lambda client: client.create_collection(
                    collection,
                    schema=collection_schema(dimension),
                    index_params=indexes(),
                    consistency_level="Strong",
                    properties={PROPERTY: text},
                    timeout=self._timeout_s,
                ),
            )
        return True

    def collection(self, collection: str) -> CollectionRecord:
        record = self._record(collection)
        if record is None:
            raise InvalidRequest(f"Collection {collection} was not created by ullage: choose another collection name")
        return record

    def collections(self) -> list[CollectionRecord]:
        """Ours, by name; collections of others in the same database are left out."""
        names = self._call("", lambda client: client.list_collections(timeout=self._timeout_s))
        found = []
        for name in sorted(names):
            record = self._record(name)
            if record is not None:
                found.append(record)
        return found

    def _record(self, collection: str) -> CollectionRecord | None:
        described = self._call(collection, lambda c: c.describe_collection(collection, timeout=self._timeout_s))
        text = (described.get("properties") or {}).get(PROPERTY)
        if text is None:
            return None
        said = json.loads(text)
        return CollectionRecord(
            collection, said["embedder"], int(said["dimension"]), self.count(collection), said.get("info") or {}
        )

    def check_embedder(self, collection: str, *, embedder: str, dimension: int) -> CollectionRecord:
        """Raises SettingsError when the collection's vectors were made by another model: they cannot be compared."""
        record = self.collection(collection)
        if (record.embedder, record.dimension) != (embedder, dimension):
            raise SettingsError(
                f"Collection {collection} was embedded with {record.embedder} ({record.dimension} dimensions), now "
                f"{embedder} ({dimension}) is set: set embedding_model={record.embedder}, or delete the collection and "
                "ingest its documents again"
            )
        return record

    def drop(self, collection: str) -> None:
        if not self.has(collection):
            raise missing(collection)
        with self._writes:
            self._call(collection, lambda c: c.drop_collection(collection, timeout=self._timeout_s))
            self._unsealed.pop(collection, None)

    def count(self, collection: str, filter: str = "") -> int:
        rows = self._call(
            collection,
            lambda c: c.query(collection, filter=filter, output_fields=["count(*)"], timeout=self._timeout_s),
        )
        return int(rows[0]["count(*)"])

    def upsert(self, collection: str, chunks: Sequence[Chunk], vectors: npt.NDArray[np.float32]) -> None:
        """Write chunks with their vectors [n, dimension]. Writing the same chunk again changes nothing.

        The first chunk of a document makes it listed: write it last when a document is written in several calls, then
        call `confirm`.
        """
        rows = [row_of(chunk, vector) for chunk, vector in zip(chunks, vectors, strict=True)]
        with self._writes:
            for begin in range(0, len(rows), ROWS_PER_WRITE):
                self._write(collection, rows[begin : begin + ROWS_PER_WRITE])
            self._unsealed[collection] = self._unsealed.get(collection, 0) + len(rows)
            if self._unsealed[collection] >= ROWS_BEFORE_SEAL:
                self._seal(collection)

    def _write(self, collection: str, rows: list[dict[str, Any]]) -> None:
        self._call(collection, lambda client: client.upsert(collection, rows, timeout=self._timeout_s))

    def confirm(self, collection: str, document: str, content_hash: str, chunks: int) -> None:
        """Call it once a document is written: from then on every search can see all of it.

        Raises DependencyDown unless exactly this many chunks of the document are there.
        """
        self.seal(collection)
        seen = self.count(collection, f"{_named(document)} and content_hash == {literal(content_hash)}")
        if seen != chunks:
            raise DependencyDown(f"the vector database at {self.uri} shows {seen} of {chunks} chunks of {document} "
                                 "after writing them: check its log and its disk, then ingest the document again")

    def seal(self, collection: str) -> None:
        """Bring everything written so far into sight of every search, and make it fast to search."""
        with self._writes:
            self._seal(collection)

    def _seal(self, collection: str) -> None:
        """Move Lite's recent writes and deletions into a segment.

        Lite answers a search that begins just before this without them, so it is done before a write is told as
        done: of 658 searches beside 60 seals 3 came back short, none when sealing came first. And it scores unsealed
        rows anew at each search: 1400 of them cost 110 ms, sealed 5 ms. A Milvus server needs neither, and limits how
        often it may be told to flush.
        """
        def flush(client: Any) -> None:
            if "lite" in str(client.get_server_version(timeout=self._timeout_s)).lower():
                client.flush(collection, timeout=self._timeout_s)

        self._call(collection, flush)
        self._unsealed.pop(collection, None)

    def delete_document(self, collection: str, document: str, *, keep_hash: str = "", only_hash: str = "") -> int:
        """Chunks deleted: all of the document, all but those of one content, or only those of one content."""
        wanted = _named(document)
        if keep_hash:
            wanted += f" and content_hash != {literal(keep_hash)}"
        if only_hash:
            wanted += f" and content_hash == {literal(only_hash)}"
        with self._writes:
            found = self.count(collection, wanted)
            if found:
                self._call(collection, lambda c: c.delete(collection, filter=wanted, timeout=self._timeout_s))
                self._seal(collection)
        return found

    def documents(self, collection: str) -> list[DocumentRecord]:
        """Complete documents, by name."""
        fields = ["document", "content_hash", "created_s", "metadata"]
        rows = self._read(collection, "ordinal == 0", fields)
        return sorted((_document(row) for row in rows), key=lambda record: record.name)

    def with_content(self, collection: str, content_hash: str) -> DocumentRecord | None:
        """A complete document that holds these bytes."""
        wanted = f"ordinal == 0 and content_hash == {literal(content_hash)}"
        rows = self._read(collection, wanted, ["document", "content_hash", "created_s", "metadata"])
        return _document(rows[0]) if rows else None

    def chunks(self, collection: str, document: str) -> tuple[list[Chunk], npt.NDArray[np.float32]]:
        """All chunks of a document in order, with their vectors [n, dimension]."""
        rows = self._read(collection, _named(document), [*CHUNK_FIELDS, "dense"])
        rows.sort(key=lambda row: int(row["ordinal"]))
        return [chunk_of(row) for row in rows], np.asarray([row["dense"] for row in rows], np.float32)

    def search_dense(self, collection: str, vector: npt.NDArray[np.float32], k: int) -> list[Hit]:
        """Nearest by cosine; `score` is the cosine."""
        return self._search(collection, "dense", np.asarray(vector, np.float32).reshape(-1), "COSINE", k)

    def search_lexical(self, collection: str, query: str, k: int) -> list[Hit]:
        """Best by shared words; `score` is BM25's. Nothing when the query holds only stop words."""
        weights = query_weights(query)
        return self._search(collection, "lexical", weights, "IP", k) if weights else []

    def search_hybrid(
        self, collection: str, query: str, vector: npt.NDArray[np.float32], k: int, *, rrf: int = RRF_K
    ) -> list[Hit]:
        """Both searches fused by reciprocal rank; `score` is the sum of 1 / (rrf + rank)."""
        found = self.search_dense(collection, vector, k) + self.search_lexical(collection, query, k)
        return fuse(found, k, rrf)

    def _search(self, collection: str, kind: str, query: Any, metric: str, k: int) -> list[Hit]:
        try:
            found = self._call(
                collection,
                lambda c: c.search(
                    collection,
                    data=[query],
                    anns_field="dense" if kind == "dense" else "sparse",
                    limit=k,
                    search_params={"metric_type": metric},
                    output_fields=CHUNK_FIELDS,
                    timeout=self._timeout_s,
                ),
            )
        except InvalidRequest:
            record = self.collection(collection)
            if kind == "dense" and record.dimension != len(query):
                raise SettingsError(f"Collection {collection} holds vectors of {record.dimension} dimensions made by "
                                    f"{record.embedder}, the query has {len(query)}: set embedding_model to that "
                                    "embedder, or ingest again") from None
            raise
        return [
            Hit(chunk_of(item["entity"]), float(item["distance"]), {kind: rank})
            for rank, item in enumerate(found[0], start=1)
        ]

    def _read(self, collection: str, wanted: str, fields: list[str]) -> list[dict[str, Any]]:
        def read(client: Any) -> list[dict[str, Any]]:
            pages = client.query_iterator(
                collection, filter=wanted, output_fields=fields, batch_size=ROWS_PER_READ, timeout=self._timeout_s
            )
            rows: list[dict[str, Any]] = []
            while part := pages.next():
                rows += part
            pages.close()
            return rows

        return self._call(collection, read)

    def _call(self, collection: str, call: Callable[[Any], T]) -> T:
        """Collections of a restarted server must be loaded before they can be read."""
        with self._connection.client(collection) as client:
            try:
                return call(client)
            except MilvusException as error:
                if error.code != NOT_LOADED and "not loaded" not in str(error.message):
                    raise
            client.load_collection(collection, timeout=self._timeout_s)
            return call(client)


def fuse(hits: Sequence[Hit], k: int, rrf: int) -> list[Hit]:
    """Reciprocal rank fusion; ties go to the better best rank, then to the id."""
    ranks: dict[str, dict[str, int]] = {}
    chunks: dict[str, Chunk] = {}
    for hit in hits:
        chunks[hit.chunk.id] = hit.chunk
        ranks.setdefault(hit.chunk.id, {}).update(hit.ranks)
    fused = [Hit(chunks[i], sum(1 / (rrf + rank) for rank in by.values()), by) for i, by in ranks.items()]
    fused.sort(key=lambda hit: (-hit.score, min(hit.ranks.values()), hit.chunk.id))
    return fused[:k]


def _named(document: str) -> str:
    return f"document == {literal(document)}"


def _document(row: Mapping[str, Any]) -> DocumentRecord:
    metadata = row["metadata"]
    said = json.loads(metadata) if isinstance(metadata, str | bytes) else dict(metadata)
    info = said.pop("document", {})
    return DocumentRecord(
        name=str(row["document"]),
        content_hash=str(row["content_hash"]),
        chunks=int(info.get("chunks", 0)),
        created_s=float(row["created_s"]),
        metadata=said,
        info=info,
    )
