"""First stage: files to passages. Reads, looks and cuts exactly as the ingestor does, and stores nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from ullage.clients.embedding import EmbeddingClient
from ullage.errors import DocumentRefused, UllageError, Unavailable
from ullage.ingest.pipeline import Ingestor, Job, Progress, Senses
from ullage.ingest.ray import Prepare
from ullage.ingest.ray.patience import patiently
from ullage.ingest.ray.rows import Asked, Document, Float32, Table, asked_of, table_of, texts_of
from ullage.ingest.readers_at_once import BoundedSandbox, ReaderKilled
from ullage.ingest.sandbox import ReadLimits
from ullage.ingest.transcribe import Hear
from ullage.ingest.vision import VisionLook
from ullage.models.files import locate
from ullage.models.files import sha256 as sha256_of
from ullage.models.resolve import resolve
from ullage.models.tokenize import Tokenizer
from ullage.settings import Settings
from ullage.store import Chunk, VectorStore

MOST_KILLS = 2
"""So often a file is read again whose reader was killed."""

AT_ONCE = 2
"""Files of a worker: one is cut while the other is read."""

FILES_PER_GROUP = 32
TABLE_BYTES = 4 << 20
"""Of passages, about: then they go on to the next stage."""


class ReadStage:
    """A batch of `Asked` rows to documents without vectors. Raises DependencyDown when a model that looks or hears
    stays away longer than `request_timeout_s`."""

    def __init__(self, settings: Settings, prepare: Prepare) -> None:
        prepare(settings)
        self._patience_s = settings.request_timeout_s
        self._sandbox = BoundedSandbox(
            ReadLimits(int(settings.reader_memory), settings.reader_timeout_s, int(settings.max_upload)))
        tokenizer = Tokenizer(locate(resolve(settings.embedding_model, "embedding"), settings.cache_dir)["tokenizer"])
        senses = Senses(self._sandbox, VisionLook.of(settings), Hear.of(settings))
        self._free = [_Reader(tokenizer, senses) for _ in range(AT_ONCE)]
        self._runner = asyncio.Runner()
        self._runner.get_loop().set_default_executor(_Here())

    def __call__(self, batch: Table) -> Iterator[Table]:
        asked, done, size = asked_of(batch), list[Document](), 0
        for begin in range(0, len(asked), FILES_PER_GROUP):
            some = self._runner.run(self._documents(asked[begin : begin + FILES_PER_GROUP]))
            done += some
            size += sum(len(text) for text in texts_of(some))
            if size >= TABLE_BYTES:
                yield table_of(done)
                done, size = [], 0
        yield table_of(done)

    def close(self) -> None:
        self._runner.run(self._sandbox.close())
        self._runner.close()

    async def _documents(self, asked: Sequence[Asked]) -> list[Document]:
        """In the order of `asked`, AT_ONCE beside each other."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(file: Asked) -> Document:
            async with slots:
                reader = self._free.pop()
                try:
                    return await self._document(file, reader)
                finally:
                    self._free.append(reader)

        return await asyncio.gather(*map(one, asked))

    async def _document(self, asked: Asked, reader: _Reader) -> Document:
        sha256 = ""
        try:
            sha256 = _hash(Path(asked.path), asked.name)
            return await patiently(lambda: _read(asked, sha256, reader), self._patience_s)
        except Unavailable:
            raise
        except UllageError as refusal:
            return Document(asked.number, asked.name, sha256, refusal.message)


class _Here(ThreadPoolExecutor):
    """Does at once what it is given: nobody else is served by a worker's loop, and threads only cost."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


class _Reader(Ingestor):
    """The ingestor's own way of a file, with a shelf in the database's place."""

    def __init__(self, tokenizer: Tokenizer, senses: Senses) -> None:
        self._shelf = _Shelf()
        super().__init__(cast(VectorStore, self._shelf), cast(EmbeddingClient, _Later()), tokenizer, senses)

    async def passages(self, job: Job) -> tuple[list[Chunk], tuple[str, ...]]:
        """In order, and what a reader warned of. A repeated reading gives the same: the time is put in when stored."""
        self._shelf.chunks.clear()
        done = await self._read_and_store(job, _unheard)
        found = sorted(self._shelf.chunks, key=lambda chunk: chunk.ordinal)
        return [replace(chunk, created_s=0.0) for chunk in found], done.warnings


class _Shelf:
    def __init__(self) -> None:
        self.chunks: list[Chunk] = []

    def upsert(self, collection: str, chunks: Sequence[Chunk], vectors: Float32) -> None:  # noqa: ARG002
        self.chunks += chunks


class _Later:
    """Passages are embedded by the next stage."""

    async def embed(self, texts: Sequence[str], input_type: str) -> Float32:  # noqa: ARG002
        return np.empty((len(texts), 0), np.float32)


async def _unheard(progress: Progress) -> None:
    """Whoever waits is told when a document is stored."""


async def _read(asked: Asked, sha256: str, reader: _Reader) -> Document:
    for attempt in range(MOST_KILLS + 1):
        try:
            chunks, warnings = await reader.passages(_job(asked, sha256))
            return Document(asked.number, asked.name, sha256, warnings=warnings, chunks=tuple(chunks))
        except ReaderKilled:
            if attempt == MOST_KILLS:
                raise
    raise AssertionError("the last attempt returned or raised")


def _job(asked: Asked, sha256: str) -> Job:
    return Job(path=Path(asked.path), name=asked.name, content_hash=sha256, collection="",
               chunk_tokens=asked.chunk_tokens, chunk_overlap=asked.chunk_overlap)


def _hash(path: Path, name: str) -> str:
    """SHA-256 of a file. Raises DocumentRefused."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise DocumentRefused(f"{name}: {path} cannot be read ({error.strerror}): every node of the cluster must have "
                              "the folder") from None
