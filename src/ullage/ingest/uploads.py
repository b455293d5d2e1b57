"""From the parts of an upload to a task in the ledger: every file is on the disk before the answer goes out."""

from __future__ import annotations

import asyncio
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import structlog
from fastapi import UploadFile

from ullage.errors import DocumentRefused, Overloaded, TooLarge, UllageError
from ullage.ingest.kept import Kept
from ullage.ingest.readers import extension
from ullage.ingest.requests import SummaryOptions, UploadData
from ullage.store import FileRecord, Ledger, MetadataField, TaskRecord, VectorStore
from ullage.store.metadata import normalised

log = structlog.get_logger("ullage.ingest")

LONGEST_NAME_BYTES = 255
READ_BYTES = 1 << 20
RETRY_AFTER_S = 5


def safe_name(given: str | None) -> str:
    """The last part of a path, without control characters. It is shown and searched for, never opened.

    Percent signs stay as they came. Raises DocumentRefused when nothing is left.
    """
    last = (given or "").replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    name = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C").strip()
    if name in ("", ".", ".."):
        raise DocumentRefused(f"{(given or '')[:80]!r} is no file name; give the file a name")
    if len(name.encode()) > LONGEST_NAME_BYTES:
        raise DocumentRefused(f"{name[:80]}...: the file name has {len(name.encode())} bytes, {LONGEST_NAME_BYTES} at "
                              "most; shorten it")
    return name


@dataclass(frozen=True, slots=True)
class Limits:
    """`chunk_tokens_most` is what the embedder takes of one text; `strict` takes only the blueprint's formats.

    `queue_files` and `queue_bytes` are what may wait to be ingested.
    """

    upload_bytes: int
    chunk_tokens: int
    chunk_overlap: int
    chunk_tokens_most: int
    queue_files: int
    queue_bytes: int
    strict: bool = False


class Uploads:
    """Takes uploads in, one request at a time a collection's names are checked and written down together."""

    def __init__(self, store: VectorStore, ledger: Ledger, kept: Kept, limits: Limits) -> None:
        self._store = store
        self._ledger = ledger
        self._kept = kept
        self._limits = limits
        self._taking = asyncio.Lock()

    async def take(self, parts: Sequence[UploadFile], data: UploadData, collection: str, *, update: bool) -> TaskRecord:
        """A committed task. A file that cannot be taken is FAILED in it, with the reason.

        Raises Overloaded when as much waits as may, before anything is kept.
        """
        await self._check_room(parts)
        schema = await asyncio.to_thread(self._store.schema, collection)
        stored = [await self._store_part(part) for part in parts]
        try:
            first, errors = _first_of_each(stored)
            wished, faults = _wishes(first, data, schema)
            async with self._taking:
                taken = set() if update else await self._names(collection, wished)
                files = [_unless_known(file, taken) for file in wished]
                options = {**self._cut(data), "update": update, "validation_errors": [*errors, *faults]}
                task = await asyncio.to_thread(self._ledger.add, collection, files, options)
        finally:
            for file in stored:
                if file.sha256:
                    self._kept.uploads.release(file.sha256)
        await self._drop_unused(stored)
        return task

    async def taken_names(self, collection: str, files: Sequence[FileRecord]) -> set[str]:
        """Names of these files that the collection has, or will have from another upload."""
        return await self._names(collection, files)

    async def _check_room(self, parts: Sequence[UploadFile]) -> None:
        files, size = await asyncio.to_thread(self._ledger.backlog)
        files, size = files + len(parts), size + sum(part.size or 0 for part in parts)
        if files > self._limits.queue_files:
            raise Overloaded(f"{files} files would wait to be ingested, {self._limits.queue_files} may: send them "
                             "again later, or raise ingest_queue_files", retry_after_s=RETRY_AFTER_S)
        if size > self._limits.queue_bytes:
            raise Overloaded(f"{size} bytes would wait to be ingested, {self._limits.queue_bytes} may: send them "
                             "again later, or raise ingest_queue", retry_after_s=RETRY_AFTER_S)

    async def _store_part(self, part: UploadFile) -> FileRecord:
        try:
            name = safe_name(part.filename)
        except DocumentRefused as refusal:
            return FileRecord(repr(part.filename)[:80], error=refusal.message)
        try:
            extension(name, strict=self._limits.strict)
            kept = await self._kept.uploads.put(_pieces(part), limit_bytes=self._limits.upload_bytes, name=name)
        except (DocumentRefused, TooLarge) as refusal:
            return FileRecord(name, error=refusal.message)
        return FileRecord(name, kept.sha256, kept.size_bytes)

    async def _names(self, collection: str, files: Sequence[FileRecord]) -> set[str]:
        wanted = [file.name for file in files]
        listed = await asyncio.to_thread(self._store.documents, collection, wanted)
        waiting = await asyncio.to_thread(self._ledger.open_names, collection, wanted)
        return {record.name for record in listed} | waiting

    async def _drop_unused(self, stored: Sequence[FileRecord]) -> None:
        """The bytes of files that were refused once they had come in."""
        for sha256 in {file.sha256 for file in stored if file.sha256}:
            try:
                await asyncio.to_thread(self._kept.forget, sha256)
            except UllageError as error:
                log.warning("bytes not removed yet", reason=error.message)

    def _cut(self, data: UploadData) -> dict[str, Any]:
        """More tokens than the embedder takes would be cut off unread, so a larger wish is brought down to that."""
        wanted = data.split_options
        size = min(wanted.chunk_size or self._limits.chunk_tokens, self._limits.chunk_tokens_most)
        overlap = self._limits.chunk_overlap if wanted.chunk_overlap is None else wanted.chunk_overlap
        return {"chunk_tokens": size, "chunk_overlap": min(overlap, size // 2)}


def _unless_known(file: FileRecord, taken: set[str]) -> FileRecord:
    if file.error or file.name not in taken:
        return file
    return FileRecord(file.name, bytes=file.bytes, error=already_there(file.name))


def already_there(name: str) -> str:
    return f"Document {name} already exists. Use update document API instead."


def _wishes(
    files: Sequence[FileRecord], data: UploadData, schema: Sequence[MetadataField]
) -> tuple[list[FileRecord], list[dict[str, Any]]]:
    """The files with what the uploader wants of each; those whose metadata are not the schema's fail."""
    given = {item.filename: item.metadata for item in data.custom_metadata}
    catalog = {item.filename: item for item in data.documents_catalog_metadata}
    found: list[FileRecord] = []
    faults: list[dict[str, Any]] = []
    for file in files:
        metadata, wrong = normalised(schema, given.get(file.name, {}))
        if wrong and not file.error:
            faults += [_error(file.name, fault) for fault in wrong]
            file = FileRecord(file.name, bytes=file.bytes, error=f"Metadata validation failed for {file.name}")
        wish: dict[str, Any] = {"metadata": metadata}
        if file.name in catalog:
            wish["info"] = catalog[file.name].model_dump(exclude={"filename"})
        if data.generate_summary:
            wish["summary"] = (data.summary_options or SummaryOptions()).model_dump()
        found.append(replace(file, wish=wish))
    names = {file.name for file in files}
    faults += [_error(name, "metadata were given, but the request has no such file")
               for name in {**given, **catalog} if name not in names]
    return found, faults


def _error(name: str, fault: str) -> dict[str, Any]:
    return {"error": f"File '{name}': {fault}", "metadata": {"filename": name}}


def _first_of_each(files: Sequence[FileRecord]) -> tuple[list[FileRecord], list[dict[str, Any]]]:
    """Of files with one name the first stays; the others are reported, as the contract words it."""
    counts = Counter(file.name for file in files)
    first = list({file.name: file for file in reversed(files)}.values())[::-1]
    repeated = [
        {
            "error": f"File '{name}': Total of {count - 1} duplicate(s) found. Only the first one is ingested.",
            "metadata": {"filename": name, "duplicate_count": count - 1, "total_occurrences": count},
        }
        for name, count in counts.items()
        if count > 1
    ]
    return first, repeated


async def _pieces(part: UploadFile) -> AsyncIterator[bytes]:
    while piece := await part.read(READ_BYTES):
        yield piece
