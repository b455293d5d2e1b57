"""One file's way: read, look, chunk, embed, store. Nothing here knows of tasks or HTTP.

Pages stream: of a document's text no more is in memory than a page, the pages a reader's pipe holds, and a batch.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from ullage.clients.embedding import EmbedderInfo, EmbeddingClient
from ullage.errors import DocumentRefused, SettingsError
from ullage.ingest.chunk import Chunker, Piece
from ullage.ingest.document import Page, Picture
from ullage.ingest.look import Look, looked_at
from ullage.ingest.readers import extension
from ullage.ingest.readers.media import MEDIA
from ullage.ingest.readers.source import Wish
from ullage.ingest.sandbox import Reading, Sandbox
from ullage.ingest.transcribe import Hear
from ullage.models.tokenize import Tokenizer
from ullage.store import PLACE_KEYS, Chunk, DocumentRecord, PageFolder, VectorStore

PIECES_PER_BATCH = 64
"""Embedded and stored together: what is in memory of a document besides its text."""

REPORT_S = 0.5
"""Pages are told no more often: each report is on the disk before the next page."""


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


@dataclass(frozen=True, slots=True)
class Senses:
    """How files are read: always in a sandbox; `look` at pictures and `hear` sound only where a service is set.

    `pages` keeps thumbnails of `thumbnail_pixels`; None keeps none.
    """

    sandbox: Sandbox
    look: Look | None = None
    hear: Hear | None = None
    pages: PageFolder | None = None
    thumbnail_pixels: int = 0

    @property
    def wish(self) -> Wish:
        return Wish(self.look is not None, self.thumbnail_pixels if self.pages is not None else 0)


class Ingestor:
    """`embedder` must be proved before use: `prove` asks it what it is."""

    def __init__(self, store: VectorStore, embedder: EmbeddingClient, tokenizer: Tokenizer, senses: Senses) -> None:
        self.store = store
        self._embedder = embedder
        self._tokenizer = tokenizer
        self._senses = senses
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
            others = await asyncio.to_thread(
                self.store.confirm, job.collection, job.name, job.content_hash, done.chunks)
        except DocumentRefused:
            await asyncio.to_thread(
                self.store.delete_document, job.collection, job.name, only_hash=job.content_hash
            )
            raise
        if others:
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
            replace(
                found,
                document=job.name,
                created_s=time.time(),
                metadata=_metadata(job, found.ordinal, info, {k: found.metadata[k] for k in PLACE_KEYS
                                                             if k in found.metadata}),
            )
            for found in chunks
        ]
        await asyncio.to_thread(self.store.upsert, job.collection, copies[::-1], vectors[::-1])
        await report(Progress((int(info.get("pages", 1)),) * 2, (len(copies),) * 2))
        return Ingested(len(copies), tuple(info.get("warnings", ())), linked=True)

    async def _read_and_store(self, job: Job, report: Report) -> Ingested:
        reading = Reading(job.name)
        writing = _Writing(job, self.store, self._embedder, reading, report)
        chunker = Chunker(self._tokenizer, chunk_tokens=job.chunk_tokens, chunk_overlap=job.chunk_overlap)
        async with aclosing(self._pages(job, reading)) as pages:
            async for page in pages:
                seen = page if self._senses.look is None else await looked_at(page, self._senses.look)
                writing.saw(seen, page.pictures)
                await writing.take(chunker.feed(seen))
                await writing.tell()
        await writing.take(chunker.finish())
        return await writing.end()

    async def _pages(self, job: Job, reading: Reading) -> AsyncGenerator[Page, None]:
        """Pages as they are read; of sound what was said."""
        senses = self._senses
        if senses.hear is not None and extension(job.name) in MEDIA:
            for page in await senses.hear.pages(job.path, job.name):
                yield page
            return
        async with aclosing(senses.sandbox.pages(job.path, reading, senses.wish)) as pages:
            async for page in pages:
                if senses.pages is not None and page.thumbnail:
                    await asyncio.to_thread(senses.pages.put, job.content_hash, page.number, page.thumbnail)
                yield page


class _Writing:
    """Gathers the pieces of one document and stores them batch by batch, the first piece last.

    The first piece makes a document listed, and it carries what is known only at the end.
    """

    def __init__(
        self, job: Job, store: VectorStore, embedder: EmbeddingClient, reading: Reading, report: Report
    ) -> None:
        self._job = job
        self._store = store
        self._embedder = embedder
        self._reading = reading
        self._report = report
        self._first: Piece | None = None
        self._waiting: list[Piece] = []
        self._kinds: Counter[str] = Counter()
        self._pages: set[int] = set()
        self._drawing: Page | None = None
        self._characters = self._pieces = self._stored = 0
        self._told_s = 0.0

    def saw(self, page: Page, pictures: Sequence[Picture]) -> None:
        """A page, and the pictures on it that were looked at for words."""
        self._pages.add(page.number)
        self._kinds.update(block.kind for block in page.blocks)
        if self._drawing is None and not page.blocks and not all(picture.bare for picture in pictures):
            self._drawing = page

    async def take(self, pieces: Iterator[Piece]) -> None:
        """Chunking computes, so it is done beside the loop and no further ahead than a batch."""
        while batch := await asyncio.to_thread(_some, pieces):
            self._pieces += len(batch)
            self._characters += sum(len(piece.text) for piece in batch)
            self._waiting += batch
            if self._first is None:
                self._first = self._waiting.pop(0)
            while len(self._waiting) >= PIECES_PER_BATCH:
                await self._store_some(self._waiting[:PIECES_PER_BATCH])
                del self._waiting[:PIECES_PER_BATCH]

    async def end(self) -> Ingested:
        if self._first is None:
            self._first = self._by_name()
        await self._store_some([*self._waiting, self._first])
        return Ingested(self._pieces, tuple(self._reading.warnings))

    def _by_name(self) -> Piece:
        """Of a document that shows something and holds no word. Raises DocumentRefused for one that shows nothing."""
        name, page = self._job.name, self._drawing
        if page is None:
            raise DocumentRefused(f"{name}: holds no text that could be searched; give a file with text in it")
        text = " ".join(re.findall(r"[^\W_]+", Path(name).stem)) or name
        self._pieces, self._characters, self._kinds["image"] = 1, len(text), 1
        self._reading.warnings.append(f"{name}: shows a picture without a word, so it is found by its name only")
        return Piece(text, page.number, (), 0, ("image",), (0, 0, page.width, page.height), (page.width, page.height))

    async def tell(self) -> None:
        now = time.monotonic()
        if now - self._told_s >= REPORT_S:
            self._told_s = now
            await self._report(self._progress())

    def _progress(self) -> Progress:
        done = len(self._pages)
        return Progress((done, max(done, self._reading.total)), (self._stored, self._pieces))

    async def _store_some(self, pieces: list[Piece]) -> None:
        vectors = await self._embedder.embed([piece.text for piece in pieces], "passage")
        info = {**self._describe(), **self._job.info}
        chunks = [_chunk(self._job, piece, info) for piece in pieces]
        await asyncio.to_thread(self._store.upsert, self._job.collection, chunks, vectors)
        self._stored += len(pieces)
        await self._report(self._progress())

    def _describe(self) -> dict[str, Any]:
        """What the first chunk says of the whole document."""
        return {
            "chunks": self._pieces,
            "pages": max(1, len(self._pages)),
            "bytes": self._job.path.stat().st_size,
            "characters": self._characters,
            "blocks": dict(self._kinds),
            "chunk_tokens": self._job.chunk_tokens,
            "chunk_overlap": self._job.chunk_overlap,
            "warnings": list(self._reading.warnings),
        }


def _some(pieces: Iterable[Piece]) -> list[Piece]:
    return list(islice(pieces, PIECES_PER_BATCH))


def _cut_alike(twin: DocumentRecord, job: Job) -> bool:
    return (twin.info.get("chunk_tokens"), twin.info.get("chunk_overlap")) == (job.chunk_tokens, job.chunk_overlap)


def _metadata(job: Job, ordinal: int, info: dict[str, Any], place: dict[str, Any]) -> dict[str, Any]:
    """The document's own record goes with its first chunk only."""
    metadata = {"filename": job.name, **job.metadata, **place}
    return {**metadata, "document": info} if ordinal == 0 else metadata


def _place(piece: Piece) -> dict[str, Any]:
    """Where a citation may point: the box in points from the page's upper left corner, and the page's size."""
    if piece.box is None or not all(piece.size):
        return {}
    return {"location": list(piece.box), "location_max_dimensions": list(piece.size)}


def _type(piece: Piece) -> str:
    """What all of the piece is: `table`, `chart`, `image`; else `text`."""
    kind = piece.kinds[0] if len(piece.kinds) == 1 else ""
    return kind if kind in ("table", "chart", "image") else "text"


def _chunk(job: Job, piece: Piece, info: dict[str, Any]) -> Chunk:
    return Chunk(
        document=job.name,
        content_hash=job.content_hash,
        ordinal=piece.ordinal,
        text=piece.text,
        page=piece.page,
        path=piece.path,
        type=_type(piece),
        created_s=time.time(),
        metadata=_metadata(job, piece.ordinal, info, _place(piece)),
    )
