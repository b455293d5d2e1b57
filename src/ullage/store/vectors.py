"""Passages and their vectors, in a Milvus server or in Milvus Lite: one code path, chosen by the URI."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ullage.errors import Cancelled, DependencyDown, InvalidRequest, NotFound
from ullage.store.metadata import MetadataField
from ullage.store.milvus import missing
from ullage.store.passage import Chunk, CollectionRecord, DocumentRecord
from ullage.store.rows import ROWS_PER_READ, ROWS_PER_WRITE, named
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
from ullage.store.search import Searches
from ullage.store.turns import SharedTurns

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
ROWS_BEFORE_SEAL = 512
CONTENTS_PER_DELETE = 50


class VectorStore(Searches):
    """Sync and thread-safe; call it from async code through `asyncio.to_thread`. Writes take turns, as Lite requires.

    What a write acknowledged survives a kill of the server: it is in the server's log file before the answer.
    Raises DependencyDown, NotFound for a missing collection, InvalidRequest.
    """

    def __init__(self, uri: str, *, timeout_s: float = 30.0, token: str = "", waits: bool = True) -> None:
        super().__init__(uri, timeout_s=timeout_s, token=token, waits=waits)
        self._writes = threading.Lock()
        self._unsealed: dict[str, int] = {}
        self._seals = SharedTurns()
        self._withdrawals = SharedTurns()
        self._withdrawn: dict[tuple[str, str, str], bool] = {}

    def create_collection(
        self,
        collection: str,
        *,
        embedder: str,
        dimension: int,
        info: Mapping[str, Any] | None = None,
        schema: Sequence[MetadataField] = (),
    ) -> bool:
        """False when it exists already. Strong consistency: what was written is found by the next search."""
        if not NAME.fullmatch(collection):
            raise InvalidRequest(f"collection name {collection[:80]!r} is not possible: use 1 to 255 letters, digits "
                                 "and underscores, not beginning with a digit")
        sparse = self.abilities().sparse
        record = CollectionRecord(collection, embedder, dimension, 0, dict(info or {}), tuple(schema), sparse)
        with self._writes:
            if self.has(collection):
                return False
            self._call(collection, lambda client: self._make(client, record))
        return True

    def _make(self, client: Any, record: CollectionRecord) -> None:
        """Indexes of a collection without rows are ready at once: the client would wait half a second for each."""
        client.create_collection(
            record.name,
            schema=collection_schema(record.dimension, sparse=record.lexical),
            consistency_level="Strong",
            properties={PROPERTY: property_text(record)},
            timeout=self._timeout_s,
        )
        client.create_index(record.name, indexes(sparse=record.lexical), timeout=self._timeout_s, sync=False)
        client.load_collection(record.name, timeout=self._timeout_s)

    def set_info(self, collection: str, info: Mapping[str, Any]) -> CollectionRecord:
        """Replace what is said of a collection."""
        with self._writes:
            record = replace(self.collection(collection), info=dict(info))
            changed = {PROPERTY: property_text(record)}
            self._call(collection, lambda c: c.alter_collection_properties(
                collection, properties=changed, timeout=self._timeout_s))
        return record

    def drop(self, collection: str) -> None:
        if not self.has(collection):
            raise missing(collection)
        with self._writes:
            self._call(collection, lambda c: c.drop_collection(collection, timeout=self._timeout_s))
            self._unsealed.pop(collection, None)

    def upsert(self, collection: str, chunks: Sequence[Chunk], vectors: npt.NDArray[np.float32]) -> None:
        """Write chunks with their vectors [n, dimension]. Writing the same chunk again changes nothing.

        The first chunk of a document makes it listed: write it last when a document is written in several calls, then
        call `confirm`. Raises Cancelled for a document that was withdrawn.
        """
        sparse = self.abilities().sparse
        rows = [row_of(chunk, vector, sparse=sparse) for chunk, vector in zip(chunks, vectors, strict=True)]
        contents = {(collection, chunk.document, chunk.content_hash) for chunk in chunks}
        with self._writes:
            if gone := [content for content in contents if content in self._withdrawn]:
                raise Cancelled(f"{min(gone)[1]} was withdrawn while it was being written")
            for begin in range(0, len(rows), ROWS_PER_WRITE):
                self._write(collection, rows[begin : begin + ROWS_PER_WRITE])
            self._unsealed[collection] = self._unsealed.get(collection, 0) + len(rows)
            if self._unsealed[collection] >= ROWS_BEFORE_SEAL:
                self._seal(collection)

    def withdraw(self, collection: str, document: str, content_hash: str) -> None:
        """Remove a content of a document and let nobody who still writes it go on, until `admit`.

        Those who ask while another deletes are served together: a deletion reads every row of the collection.
        """
        self._withdrawn[collection, document, content_hash] = False
        ticket = self._withdrawals.ask(collection)
        with self._writes:
            self._withdrawals.serve(collection, ticket, lambda: self._delete_withdrawn(collection))

    def _delete_withdrawn(self, collection: str) -> None:
        """Also what an earlier deletion did not reach because the database was away."""
        left = [key for key, deleted in list(self._withdrawn.items()) if key[0] == collection and not deleted]
        for begin in range(0, len(left), CONTENTS_PER_DELETE):
            some = left[begin : begin + CONTENTS_PER_DELETE]
            self._delete(collection, " or ".join(
                f"({named(document)} and content_hash == {literal(content)})" for _, document, content in some))
            self._withdrawn.update(dict.fromkeys(some, True))

    def admit(self, collection: str, document: str, content_hash: str) -> None:
        with self._writes:
            self._withdrawn.pop((collection, document, content_hash), None)

    def _write(self, collection: str, rows: list[dict[str, Any]]) -> None:
        self._call(collection, lambda client: client.upsert(collection, rows, timeout=self._timeout_s))

    def confirm(self, collection: str, document: str, content_hash: str, chunks: int) -> int:
        """Call it once a document is written: from then on every search can see all of it.

        Gives back how many chunks of other contents are there under its name. Raises DependencyDown unless exactly this
        many chunks of the document are there.
        """
        self.seal(collection)
        seen, others = self._chunks_of(collection, document, content_hash)
        if seen != chunks:
            raise DependencyDown(f"the vector database at {self.uri} shows {seen} of {chunks} chunks of {document} "
                                 "after writing them: check its log and its disk, then ingest the document again")
        return others

    def _chunks_of(self, collection: str, document: str, content_hash: str) -> tuple[int, int]:
        """(of this content, of others) under one name. One question where it can be: each reads every row."""
        rows = self.few(collection, named(document), ["content_hash"])
        if len(rows) < ROWS_PER_READ:
            own = sum(row["content_hash"] == content_hash for row in rows)
            return own, len(rows) - own
        all_of_it = self.count(collection, named(document))
        own = self.count(collection, f"{named(document)} and content_hash == {literal(content_hash)}")
        return own, all_of_it - own

    def seal(self, collection: str) -> None:
        """Bring everything written so far into sight of every search, and make it fast to search.

        Those who ask while another seals are served together by the next one.
        """
        ticket = self._seals.ask(collection)
        with self._writes:
            self._seals.serve(collection, ticket, lambda: self._seal(collection))

    def _seal(self, collection: str) -> None:
        """Move Lite's recent writes and deletions into a segment.

        Lite answers a search that begins just before this without them, so it is done before a write is told as
        done: of 658 searches beside 60 seals 3 came back short, none when sealing came first. And it scores unsealed
        rows anew at each search: 1400 of them cost 110 ms, sealed 5 ms. A Milvus server needs neither, and limits how
        often it may be told to flush.
        """
        if self.abilities().lite:
            self._call(collection, lambda client: client.flush(collection, timeout=self._timeout_s))
        self._unsealed.pop(collection, None)

    def delete_document(self, collection: str, document: str, *, keep_hash: str = "", only_hash: str = "") -> int:
        """Chunks deleted: all of the document, all but those of one content, or only those of one content."""
        wanted = named(document)
        if keep_hash:
            wanted += f" and content_hash != {literal(keep_hash)}"
        if only_hash:
            wanted += f" and content_hash == {literal(only_hash)}"
        if self.count(collection, wanted) == 0:
            return 0
        with self._writes:
            return self._delete(collection, wanted)

    def _delete(self, collection: str, wanted: str) -> int:
        found = self.count(collection, wanted)
        if found:
            self._call(collection, lambda c: c.delete(collection, filter=wanted, timeout=self._timeout_s))
            self._seal(collection)
            if not self.abilities().lite:
                self.count(collection, wanted)  # answered when the deletion is in sight, of those too who do not wait
        return found

    def describe_document(self, collection: str, document: str, changes: Mapping[str, Any]) -> DocumentRecord:
        """Change what is said of a document (its `info`). Raises NotFound."""
        wanted = f"{named(document)} and ordinal == 0"
        rows = self.few(collection, wanted, [*CHUNK_FIELDS, "dense"])
        if not rows:
            raise NotFound(f"Document {document} does not exist in collection {collection}")
        first = chunk_of(rows[0])
        info = {**first.metadata.get("document", {}), **changes}
        changed = replace(first, metadata={**first.metadata, "document": info})
        self.upsert(collection, [changed], np.asarray([rows[0]["dense"]], np.float32))
        self.seal(collection)
        return self.documents(collection, [document])[0]
