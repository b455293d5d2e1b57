"""Second and third stage: passages to vectors, and both into the collection, each document exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ullage.clients.embedding import EmbeddingClient
from ullage.errors import DocumentRefused, RequestError
from ullage.ingest.ray import Prepare
from ullage.ingest.ray.patience import patiently, patiently_here
from ullage.ingest.ray.rows import (
    Document,
    Float32,
    Table,
    documents_of,
    embedded,
    endings_table,
    table_of,
    texts_of,
)
from ullage.settings import Settings
from ullage.store import VectorStore
from ullage.store.schema import literal

NAMES_PER_COUNT = 500


class EmbedStage:
    """Asks the embedding service. Raises DependencyDown when it stays away longer than `request_timeout_s`."""

    def __init__(self, settings: Settings, prepare: Prepare) -> None:
        prepare(settings)
        self._patience_s = settings.request_timeout_s
        self._client = EmbeddingClient(settings.url("embedding"), timeout_s=settings.request_timeout_s)
        self._runner = asyncio.Runner()

    def __call__(self, batch: Table) -> Table:
        return table_of(self._runner.run(self._embed(documents_of(batch))))

    def close(self) -> None:
        self._runner.run(self._client.close())
        self._runner.close()

    async def _embed(self, documents: Sequence[Document]) -> list[Document]:
        try:
            return embedded(documents, await self._vectors(documents))
        except RequestError:
            return [await self._embed_alone(document) for document in documents]

    async def _embed_alone(self, document: Document) -> Document:
        """One document's passages may be refused; the others' must not go with them."""
        try:
            return replace(document, vectors=await self._vectors([document]))
        except RequestError as refusal:
            return document.refused(f"{document.name}: {refusal.message}")

    async def _vectors(self, documents: Sequence[Document]) -> Float32:
        return await patiently(lambda: self._client.embed(texts_of(documents), "passage"), self._patience_s)


class WriteStage:
    """Writes documents and proves that the collection shows each as it is, whatever an earlier attempt left there.

    Ids come from the content's hash, the name and the passage's number, so writing again changes nothing.
    """

    def __init__(self, settings: Settings, prepare: Prepare, collection: str) -> None:
        prepare(settings)
        self._patience_s = settings.request_timeout_s
        self._collection = collection
        self._store = VectorStore(settings.url("vectors"))

    def __call__(self, batch: Table) -> Table:
        documents = documents_of(batch)
        written = patiently_here(lambda: self.write(documents), self._patience_s)
        return endings_table([document.ending for document in written])

    def close(self) -> None:
        self._store.close()

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """The same documents, or as they were refused. Raises DependencyDown."""
        try:
            self._store_whole([document for document in documents if not document.error])
        except DocumentRefused:
            return [document if document.error else self._write_alone(document) for document in documents]
        return list(documents)

    def _write_alone(self, document: Document) -> Document:
        try:
            self._store_whole([document])
        except DocumentRefused as refusal:
            self._store.delete_document(self._collection, document.name, only_hash=document.sha256)
            return document.refused(refusal.message)
        return document

    def _store_whole(self, documents: Sequence[Document]) -> None:
        self._upsert(documents)
        self._store.seal(self._collection)
        for begin in range(0, len(documents), NAMES_PER_COUNT):
            self._prove(documents[begin : begin + NAMES_PER_COUNT])

    def _upsert(self, documents: Sequence[Document]) -> None:
        """First passages last: they make a document listed."""
        now = time.time()
        chunks = [replace(chunk, created_s=now) for document in documents for chunk in document.chunks]
        if not chunks:
            return
        vectors = np.concatenate([document.vectors for document in documents if document.chunks])
        for order in ([n for n, chunk in enumerate(chunks) if chunk.ordinal],
                      [n for n, chunk in enumerate(chunks) if not chunk.ordinal]):
            if order:
                self._store.upsert(self._collection, [chunks[n] for n in order], vectors[order])

    def _prove(self, documents: Sequence[Document]) -> None:
        """One count for all; where it is not what was written, document by document."""
        names = ", ".join(literal(document.name) for document in documents)
        seen = self._store.count(self._collection, f"document in [{names}]")
        if seen != sum(len(document.chunks) for document in documents):
            for document in documents:
                self._repair(document)

    def _repair(self, document: Document) -> None:
        """Nothing but this content's passages, each once. What an older content, another cut or two writers left goes.

        Raises DependencyDown when the database does not show it even then.
        """
        name, count = document.name, len(document.chunks)
        self._store.delete_document(self._collection, name, keep_hash=document.sha256)
        if self._store.count(self._collection, f"document == {literal(name)}") != count:
            self._store.delete_document(self._collection, name)
            self._upsert([document])
        self._store.confirm(self._collection, name, document.sha256, count)
