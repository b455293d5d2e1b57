"""One file's way: read, chunk, embed, store. Nothing here knows of tasks or HTTP."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ullage.clients import EmbedderInfo, EmbeddingClient
from ullage.errors import DocumentRefused, SettingsError
from ullage.ingest.chunk import Piece, chunk
from ullage.ingest.document import Document
from ullage.ingest.readers import extension, read
from ullage.models.tokenize import Tokenizer
from ullage.store import Chunk, DocumentRecord, VectorStore

PIECES_PER_BATCH = 64
"""Embedded and stored together: what is in memory of a document besides its text."""


@dataclass(frozen=True, slots=True)
class Progress:
    """(done, total) pages read and chunks stored."""

    pages: tuple[int, int] = (0, 0)
    chunks: tuple[int, int] = (0, 0)


Report = Callable[[Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Job:
    """A stored file and what the uploader wants of it. `metadata` goes to every chunk, `info` to the document."""

    path: Path
    name: str
    content_hash: str
    collection: str
    chunk_tokens: int
    chunk_overlap: int
    metadata: dict[str, Any] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ingested:
    """`linked`: the same bytes were there under another name, so their vectors were copied."""

    chunks: int
    warnings: tuple[str, ...] = ()
    linked: bool = False


class Ingestor:
    """`embedder` must be proved before use: `prove` asks it what it is."""

    def __init__(
        self, store: VectorStore, embedder: EmbeddingClient, tokenizer: Tokenizer, *, limit_bytes: int
    ) -> None:
        self.store = store
        self._embedder = embedder
        self._tokenizer = tokenizer
        self._limit_bytes = limit_bytes
        self._made_by: EmbedderInfo | None = None

    async def prove(self) -> EmbedderInfo:
        """What embeds here, after a real embedding. Raises DependencyDown."""
        self._made_by = await self._embedder.describe()
        return self._made_by

    @property
    def made_by(self) -> EmbedderInfo:
        if self._made_by is None:
            raise SettingsError("the embedder is not known yet: wait until the ingestor is ready")
        return self._made_by

    async def ingest(self, job: Job, report: Report) -> Ingested:
        """The document is listed when this returns, and nothing of it is left when it raises.

        Doing it again with the same bytes changes nothing. An older content under the same name goes once the new one
        is complete. Raises DocumentRefused, NotFound, SettingsError or DependencyDown.
        """
        await asyncio.to_thread(
            self.store.check_embedder,
            job.collection,
            embedder=self.made_by.name,
            dimension=self.made_by.dimension,
        )
        try:
            done = await self._link(job, report) or await self._read_and_store(job, report)
            await asyncio.to_thread(self.store.confirm, job.collection, job.name, job.content_hash, done.chunks)
        except DocumentRefused:
            await asyncio.to_thread(
                self.store.delete_document, job.collection, job.name, only_hash=job.content_hash
            )
            raise
        await asyncio.to_thread(self.store.delete_document, job.collection, job.name, keep_hash=job.content_hash)
        return done

    async def _link(self, job: Job, report: Report) -> Ingested | None:
        """Take over the chunks of a document with the same bytes, cut the same way; None when there is none."""
        twin = await asyncio.to_thread(self.store.with_content, job.collection, job.content_hash)
        if twin is None or not _cut_alike(twin, job) or extension(twin.name) != extension(job.name):
            return None
        chunks, vectors = await asyncio.to_thread(self.store.chunks, job.collection, twin.name)
        info = {**twin.info, **job.info}
        copies = [
            replace(found, document=job.name, created_s=time.time(), metadata=_metadata(job, found.ordinal, info))
            for found in chunks
        ]
        await asyncio.to_thread(self.store.upsert, job.collection, copies[::-1], vectors[::-1])
        await report(Progress((int(info.get("pages", 1)),) * 2, (len(copies),) * 2))
        return Ingested(len(copies), tuple(info.get("warnings", ())), linked=True)

    async def _read_and_store(self, job: Job, report: Report) -> Ingested:
        document = await asyncio.to_thread(read, job.path, job.name, limit_bytes=self._limit_bytes)
        pages = (len(document.pages), len(document.pages))
        await report(Progress(pages))
        pieces = await asyncio.to_thread(
            chunk,
            document,
            self._tokenizer,
            chunk_tokens=job.chunk_tokens,
            chunk_overlap=job.chunk_overlap,
        )
        info = {**_describe(document, pieces, job), **job.info}
        stored = 0
        for begin in reversed(range(0, len(pieces), PIECES_PER_BATCH)):
            batch = pieces[begin : begin + PIECES_PER_BATCH]
            vectors = await self._embedder.embed([piece.text for piece in batch], "passage")
            chunks = [_chunk(job, piece, info) for piece in batch]
            await asyncio.to_thread(self.store.upsert, job.collection, chunks, vectors)
            stored += len(batch)
            await report(Progress(pages, (stored, len(pieces))))
        return Ingested(len(pieces), document.warnings)


def _cut_alike(twin: DocumentRecord, job: Job) -> bool:
    return (twin.info.get("chunk_tokens"), twin.info.get("chunk_overlap")) == (job.chunk_tokens, job.chunk_overlap)


def _describe(document: Document, pieces: list[Piece], job: Job) -> dict[str, Any]:
    """What the first chunk says of the whole document."""
    kinds = Counter(block.kind for page in document.pages for block in page.blocks)
    return {
        "chunks": len(pieces),
        "pages": len(document.pages),
        "bytes": job.path.stat().st_size,
        "characters": sum(len(piece.text) for piece in pieces),
        "blocks": dict(kinds),
        "chunk_tokens": job.chunk_tokens,
        "chunk_overlap": job.chunk_overlap,
        "warnings": list(document.warnings),
    }


def _metadata(job: Job, ordinal: int, info: dict[str, Any]) -> dict[str, Any]:
    """The document's own record goes with its first chunk only."""
    metadata = {"filename": job.name, **job.metadata}
    return {**metadata, "document": info} if ordinal == 0 else metadata


def _chunk(job: Job, piece: Piece, info: dict[str, Any]) -> Chunk:
    return Chunk(
        document=job.name,
        content_hash=job.content_hash,
        ordinal=piece.ordinal,
        text=piece.text,
        page=piece.page,
        path=piece.path,
        created_s=time.time(),
        metadata=_metadata(job, piece.ordinal, info),
    )
