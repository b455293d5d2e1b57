"""Passages and their vectors, in a Milvus server or in Milvus Lite: one code path, chosen by the URI."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import structlog
from pymilvus.exceptions import MilvusException

from ullage.errors import Cancelled, DependencyDown, InvalidRequest, NotFound, SettingsError
from ullage.store.filters import filter_expression
from ullage.store.fusion import RRF_K, fuse
from ullage.store.lexical import query_weights
from ullage.store.metadata import MetadataField
from ullage.store.milvus import NOT_LOADED, Abilities, Connection, missing
from ullage.store.passage import Chunk, CollectionRecord, DocumentRecord, Hit
from ullage.store.schema import (
    CHUNK_FIELDS,
    DOCUMENT_FIELDS,
    PROPERTY,
    chunk_of,
    collection_schema,
    document_of,
    indexes,
    literal,
    property_text,
    record_of,
    row_of,
)
from ullage.store.turns import SharedTurns

log = structlog.get_logger("ullage.store")

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
ROWS_PER_WRITE = 256
ROWS_PER_READ = 1000
ROWS_BEFORE_SEAL = 512
NAMES_PER_READ = 100


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
        self._seals = SharedTurns()
        self._withdrawn: set[tuple[str, str, str]] = set()
        self._told_dense = False

    @property
    def uri(self) -> str:
        return self._connection.uri

    def close(self) -> None:
        self._connection.close()

    def abilities(self) -> Abilities:
        """What the database behind the URI can do."""
        return self._connection.abilities()

    def ping(self) -> int:
        """The number of collections. Raises DependencyDown when the database does not answer."""
        return len(self._call("", lambda client: client.list_collections(timeout=self._timeout_s)))

    def has(self, collection: str) -> bool:
        return bool(self._call(collection, lambda c: c.has_collection(collection, timeout=self._timeout_s)))

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
            self._call(
                collection,
                lambda client: client.create_collection(
                    collection,
                    schema=collection_schema(dimension, sparse=sparse),
                    index_params=indexes(sparse=sparse),
                    consistency_level="Strong",
                    properties={PROPERTY: property_text(record)},
                    timeout=self._timeout_s,
                ),
            )
        return True

    def set_info(self, collection: str, info: Mapping[str, Any]) -> CollectionRecord:
        """Replace what is said of a collection."""
        with self._writes:
            record = replace(self.collection(collection), info=dict(info))
            changed = {PROPERTY: property_text(record)}
            self._call(collection, lambda c: c.alter_collection_properties(
                collection, properties=changed, timeout=self._timeout_s))
        return record

    def collection(self, collection: str) -> CollectionRecord:
        record = self._record(collection, count=True)
        if record is None:
            raise InvalidRequest(f"Collection {collection} was not created by ullage: choose another collection name")
        return record

    def collections(self) -> list[CollectionRecord]:
        """Ours, by name; collections of others in the same database are left out."""
        found = []
        for name in sorted(self._call("", lambda client: client.list_collections(timeout=self._timeout_s))):
            try:
                record = self._record(name, count=True)
            except NotFound:
                continue  # dropped since they were listed
            if record is not None:
                found.append(record)
        return found

    def _record(self, collection: str, *, count: bool) -> CollectionRecord | None:
        described = self._call(collection, lambda c: c.describe_collection(collection, timeout=self._timeout_s))
        text = (described.get("properties") or {}).get(PROPERTY)
        if text is None:
            return None
        return record_of(collection, text, self.count(collection) if count else 0)

    def schema(self, collection: str) -> tuple[MetadataField, ...]:
        """What the collection's metadata must be like; empty: anything."""
        record = self._record(collection, count=False)
        return () if record is None else record.schema

    def check_embedder(self, collection: str, *, embedder: str, dimension: int) -> None:
        """Raises SettingsError when the collection's vectors were made by another model: they cannot be compared."""
        record = self._record(collection, count=False)
        if record is None:
            raise InvalidRequest(f"Collection {collection} was not created by ullage: choose another collection name")
        if (record.embedder, record.dimension) != (embedder, dimension):
            raise SettingsError(
                f"Collection {collection} was embedded with {record.embedder} ({record.dimension} dimensions), now "
                f"{embedder} ({dimension}) is set: set embedding_model={record.embedder}, or delete the collection and "
                "ingest its documents again"
            )

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
        call `confirm`. Raises Cancelled for a document that was withdrawn.
        """
        sparse = self.abilities().sparse
        rows = [row_of(chunk, vector, sparse=sparse) for chunk, vector in zip(chunks, vectors, strict=True)]
        contents = {(collection, chunk.document, chunk.content_hash) for chunk in chunks}
        with self._writes:
            if gone := contents & self._withdrawn:
                raise Cancelled(f"{min(gone)[1]} was withdrawn while it was being written")
            for begin in range(0, len(rows), ROWS_PER_WRITE):
                self._write(collection, rows[begin : begin + ROWS_PER_WRITE])
            self._unsealed[collection] = self._unsealed.get(collection, 0) + len(rows)
            if self._unsealed[collection] >= ROWS_BEFORE_SEAL:
                self._seal(collection)

    def withdraw(self, collection: str, document: str, content_hash: str) -> None:
        """Remove a content of a document and let nobody who still writes it go on, until `admit`."""
        with self._writes:
            self._withdrawn.add((collection, document, content_hash))
            self._delete(collection, f"{_named(document)} and content_hash == {literal(content_hash)}")

    def admit(self, collection: str, document: str, content_hash: str) -> None:
        with self._writes:
            self._withdrawn.discard((collection, document, content_hash))

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
        wanted = _named(document)
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
        return found

    def documents(self, collection: str, names: Sequence[str] | None = None) -> list[DocumentRecord]:
        """Complete documents, by name: all, or those of `names` that are there."""
        if names is None:
            rows = self._read(collection, "ordinal == 0", DOCUMENT_FIELDS)
        else:
            rows = []
            for begin in range(0, len(names), NAMES_PER_READ):
                some = ", ".join(literal(name) for name in names[begin : begin + NAMES_PER_READ])
                rows += self._few(collection, f"document in [{some}] and ordinal == 0", DOCUMENT_FIELDS)
        return sorted((document_of(row) for row in rows), key=lambda record: record.name)

    def with_content(self, collection: str, content_hash: str) -> DocumentRecord | None:
        """A complete document that holds these bytes."""
        wanted = f"ordinal == 0 and content_hash == {literal(content_hash)}"
        rows = self._few(collection, wanted, DOCUMENT_FIELDS)
        return document_of(rows[0]) if rows else None

    def describe_document(self, collection: str, document: str, changes: Mapping[str, Any]) -> DocumentRecord:
        """Change what is said of a document (its `info`). Raises NotFound."""
        wanted = f"{_named(document)} and ordinal == 0"
        rows = self._few(collection, wanted, [*CHUNK_FIELDS, "dense"])
        if not rows:
            raise NotFound(f"Document {document} does not exist in collection {collection}")
        first = chunk_of(rows[0])
        info = {**first.metadata.get("document", {}), **changes}
        changed = replace(first, metadata={**first.metadata, "document": info})
        self.upsert(collection, [changed], np.asarray([rows[0]["dense"]], np.float32))
        self.seal(collection)
        return self.documents(collection, [document])[0]

    def everything(self, collection: str) -> Iterator[tuple[list[Chunk], npt.NDArray[np.float32]]]:
        """All chunks with their vectors, some at a time, in no order that means anything."""
        for rows in self._pages(collection, "ordinal >= 0", [*CHUNK_FIELDS, "dense"], ROWS_PER_WRITE):
            yield [chunk_of(row) for row in rows], np.asarray([row["dense"] for row in rows], np.float32)

    def chunks(self, collection: str, document: str) -> tuple[list[Chunk], npt.NDArray[np.float32]]:
        """All chunks of a document in order, with their vectors [n, dimension]."""
        rows = self._read(collection, _named(document), [*CHUNK_FIELDS, "dense"])
        rows.sort(key=lambda row: int(row["ordinal"]))
        return [chunk_of(row) for row in rows], np.asarray([row["dense"] for row in rows], np.float32)

    def search_dense(
        self, collection: str, vector: npt.NDArray[np.float32], k: int, *, filter: str = ""
    ) -> list[Hit]:
        """Nearest by cosine; `score` is the cosine. `filter` is in the contract's grammar (`filter_grammar`)."""
        query = np.asarray(vector, np.float32).reshape(-1)
        return self._search(collection, "dense", query, "COSINE", k, self._expression(collection, filter))

    def search_lexical(self, collection: str, query: str, k: int, *, filter: str = "") -> list[Hit]:
        """Best by shared words; `score` is BM25's. Nothing when the query holds only stop words.

        Raises SettingsError where the database cannot do it.
        """
        able = self.abilities()
        if not able.sparse:
            raise SettingsError(able.without_words(self.uri))
        weights = query_weights(query)
        wanted = self._expression(collection, filter)
        return self._search(collection, "lexical", weights, "IP", k, wanted) if weights else []

    def search_hybrid(
        self,
        collection: str,
        query: str,
        vector: npt.NDArray[np.float32],
        k: int,
        *,
        rrf: int = RRF_K,
        filter: str = "",
    ) -> list[Hit]:
        """Both searches fused by reciprocal rank; `score` is the sum of 1 / (rrf + rank).

        Where the database has no lexical search the dense one counts alone; the log says so once.
        """
        found = self.search_dense(collection, vector, k, filter=filter)
        able = self.abilities()
        if able.sparse:
            found += self.search_lexical(collection, query, k, filter=filter)
        elif not self._told_dense:
            self._told_dense = True
            log.warning(able.without_words(self.uri))
        return fuse(found, k, rrf)

    def _expression(self, collection: str, filter: str) -> str:
        """Raises InvalidRequest with the place of the fault."""
        return filter_expression(filter, self.schema(collection)) if filter.strip() else ""

    def _search(self, collection: str, kind: str, query: Any, metric: str, k: int, wanted: str) -> list[Hit]:
        try:
            found = self._call(
                collection,
                lambda c: c.search(
                    collection,
                    data=[query],
                    filter=wanted,
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
            if kind == "lexical" and not record.lexical:
                raise SettingsError(f"Collection {collection} was made by a database without sparse vectors: export "
                                    "it and import it under another name to search it by words") from None
            raise
        return [
            Hit(chunk_of(item["entity"]), float(item["distance"]), {kind: rank})
            for rank, item in enumerate(found[0], start=1)
        ]

    def _few(self, collection: str, wanted: str, fields: list[str]) -> list[dict[str, Any]]:
        """Rows of which there cannot be many: one call, where reading in pages takes several."""
        found = self._call(collection, lambda c: c.query(
            collection, filter=wanted, output_fields=fields, limit=ROWS_PER_READ, timeout=self._timeout_s))
        return [dict(row) for row in found]

    def _read(self, collection: str, wanted: str, fields: list[str]) -> list[dict[str, Any]]:
        return [row for page in self._pages(collection, wanted, fields, ROWS_PER_READ) for row in page]

    def _pages(
        self, collection: str, wanted: str, fields: list[str], rows: int
    ) -> Iterator[list[dict[str, Any]]]:
        pages = self._call(collection, lambda c: c.query_iterator(
            collection, filter=wanted, output_fields=fields, batch_size=rows, timeout=self._timeout_s))
        try:
            while page := self._call(collection, lambda _: pages.next()):
                yield page
        finally:
            pages.close()

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


def _named(document: str) -> str:
    return f"document == {literal(document)}"
