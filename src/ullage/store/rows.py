"""What stands in a database of vectors: collections, documents, chunks. Reading alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pymilvus.exceptions import MilvusException

from ullage.errors import InvalidRequest, NotFound, SettingsError
from ullage.store.metadata import MetadataField
from ullage.store.milvus import NOT_LOADED, Abilities, Connection
from ullage.store.passage import PLACE_KEYS, Chunk, CollectionRecord, DocumentRecord
from ullage.store.schema import (
    CHUNK_FIELDS,
    DOCUMENT_FIELDS,
    PROPERTY,
    chunk_of,
    document_of,
    literal,
    metadata_of,
    record_of,
)

T = TypeVar("T")
ROWS_PER_WRITE = 256
ROWS_PER_READ = 1000
NAMES_PER_READ = 100
PLACES_PER_READ = 10_000
"""Of rows so small; a server gives 16,384 at most at once."""


class Rows:
    """Sync and thread-safe. Raises DependencyDown, NotFound for a missing collection, InvalidRequest.

    What is read holds everything written before. Without `waits` it holds what was told as written or deleted: a Milvus
    server answers at once then, else after its next tick, 0.2 to 0.4 s later.
    """

    def __init__(self, uri: str, *, timeout_s: float = 30.0, token: str = "", waits: bool = True) -> None:
        self._connection = Connection(uri, timeout_s=timeout_s, token=token)
        self._timeout_s = timeout_s
        self._sight: dict[str, Any] = {} if waits else {"consistency_level": "Bounded"}

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

    def count(self, collection: str, filter: str = "") -> int:
        rows = self._call(
            collection,
            lambda c: c.query(collection, filter=filter, output_fields=["count(*)"], timeout=self._timeout_s,
                              **self._sight),
        )
        return int(rows[0]["count(*)"])

    def documents(self, collection: str, names: Sequence[str] | None = None) -> list[DocumentRecord]:
        """Complete documents, by name: all, or those of `names` that are there."""
        if names is None:
            rows = self._read(collection, "ordinal == 0", DOCUMENT_FIELDS)
        else:
            rows = []
            for begin in range(0, len(names), NAMES_PER_READ):
                some = ", ".join(literal(name) for name in names[begin : begin + NAMES_PER_READ])
                rows += self.few(collection, f"document in [{some}] and ordinal == 0", DOCUMENT_FIELDS)
        return sorted((document_of(row) for row in rows), key=lambda record: record.name)

    def with_content(self, collection: str, content_hash: str) -> DocumentRecord | None:
        """A complete document that holds these bytes."""
        wanted = f"ordinal == 0 and content_hash == {literal(content_hash)}"
        rows = self.few(collection, wanted, DOCUMENT_FIELDS)
        return document_of(rows[0]) if rows else None

    def page_size(self, collection: str, document: str, page: int) -> tuple[float, float] | None:
        """Width and height that boxes on a page are given in, as its passages say; None when none says it."""
        rows = self.few(collection, f"{named(document)} and page == {int(page)}", ["metadata"])
        sizes = (metadata_of(row["metadata"]).get(PLACE_KEYS[1]) for row in rows)
        return next(((float(size[0]), float(size[1])) for size in sizes if size), None)

    def everything(self, collection: str) -> Iterator[tuple[list[Chunk], npt.NDArray[np.float32]]]:
        """All chunks with their vectors, some at a time, in no order that means anything."""
        for rows in self._pages(collection, "ordinal >= 0", [*CHUNK_FIELDS, "dense"], ROWS_PER_WRITE):
            yield [chunk_of(row) for row in rows], np.asarray([row["dense"] for row in rows], np.float32)

    def places(self, collection: str) -> Iterator[tuple[str, str, int]]:
        """(document, content hash, ordinal) of every chunk, in no order that means anything."""
        fields = ["document", "content_hash", "ordinal"]
        for rows in self._pages(collection, "ordinal >= 0", fields, PLACES_PER_READ):
            for row in rows:
                yield str(row["document"]), str(row["content_hash"]), int(row["ordinal"])

    def chunks(self, collection: str, document: str) -> tuple[list[Chunk], npt.NDArray[np.float32]]:
        """All chunks of a document in order, with their vectors [n, dimension]."""
        rows = self._read(collection, named(document), [*CHUNK_FIELDS, "dense"])
        rows.sort(key=lambda row: int(row["ordinal"]))
        return [chunk_of(row) for row in rows], np.asarray([row["dense"] for row in rows], np.float32)

    def few(self, collection: str, wanted: str, fields: list[str]) -> list[dict[str, Any]]:
        """Rows of which there cannot be many: one call, where reading in pages takes several."""
        found = self._call(collection, lambda c: c.query(
            collection, filter=wanted, output_fields=fields, limit=ROWS_PER_READ, timeout=self._timeout_s,
            **self._sight))
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


def named(document: str) -> str:
    return f"document == {literal(document)}"
