"""From the parts of an upload to a task in the ledger: every file is on the disk before the answer goes out."""

from __future__ import annotations

import asyncio
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import UploadFile

from ullage.errors import DocumentRefused, TooLarge
from ullage.ingest.answers import UploadData
from ullage.ingest.readers import extension
from ullage.store import FileRecord, Ledger, ObjectFolder, TaskRecord, VectorStore

LONGEST_NAME_BYTES = 255
READ_BYTES = 1 << 20


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
    """`chunk_tokens_most` is what the embedder takes of one text."""

    upload_bytes: int
    chunk_tokens: int
    chunk_overlap: int
    chunk_tokens_most: int


class Uploads:
    """Takes uploads in, one request at a time a collection's names are checked and written down together."""

    def __init__(self, store: VectorStore, ledger: Ledger, objects: ObjectFolder, limits: Limits) -> None:
        self._store = store
        self._ledger = ledger
        self._objects = objects
        self._limits = limits
        self._taking = asyncio.Lock()

    async def take(self, parts: Sequence[UploadFile], data: UploadData, collection: str, *, update: bool) -> TaskRecord:
        """A committed task. A file that cannot be taken is FAILED in it, with the reason."""
        stored = [await self._store_part(part) for part in parts]
        first, repeated = _first_of_each(stored)
        async with self._taking:
            taken = set() if update else await self._names(collection)
            files = [await self._known(file, taken) for file in first]
            options = {**self._options(data), "validation_errors": repeated}
            return await asyncio.to_thread(self._ledger.add, collection, files, options)

    async def _store_part(self, part: UploadFile) -> FileRecord:
        try:
            name = safe_name(part.filename)
        except DocumentRefused as refusal:
            return FileRecord(repr(part.filename)[:80], error=refusal.message)
        try:
            extension(name)
            kept = await self._objects.put(_pieces(part), limit_bytes=self._limits.upload_bytes, name=name)
        except (DocumentRefused, TooLarge) as refusal:
            return FileRecord(name, error=refusal.message)
        return FileRecord(name, kept.sha256, kept.size_bytes)

    async def _names(self, collection: str) -> set[str]:
        """Names that a collection has or will have."""
        listed = await asyncio.to_thread(self._store.documents, collection)
        waiting = await asyncio.to_thread(self._ledger.open_files, collection)
        return {record.name for record in listed} | {file.name for file in waiting}

    async def _known(self, file: FileRecord, taken: set[str]) -> FileRecord:
        if file.error or file.name not in taken:
            return file
        if await asyncio.to_thread(self._ledger.uses, file.sha256) == 0:
            await asyncio.to_thread(self._objects.remove, file.sha256)
        return FileRecord(
            file.name,
            bytes=file.bytes,
            error=f"Document {file.name} already exists. Use update document API instead.",
        )

    def _options(self, data: UploadData) -> dict[str, Any]:
        """More tokens than the embedder takes would be cut off unread, so a larger wish is brought down to that."""
        wanted = data.split_options
        size = min(wanted.chunk_size or self._limits.chunk_tokens, self._limits.chunk_tokens_most)
        overlap = self._limits.chunk_overlap if wanted.chunk_overlap is None else wanted.chunk_overlap
        return {
            "chunk_tokens": size,
            "chunk_overlap": min(overlap, size // 2),
            "metadata": {item.filename: item.metadata for item in data.custom_metadata},
            "info": {
                item.filename: {"description": item.description, "tags": item.tags}
                for item in data.documents_catalog_metadata
            },
        }


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
