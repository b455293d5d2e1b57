"""A collection as one file, to keep or to carry to another database.

A ZIP archive of `passages.jsonl` (a passage a line, its vector as base64 of little-endian fp32) and, last,
`collection.json` with the format's version, the collection's record and the number of passages. Thumbnails and
summaries are not in it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ullage.errors import InvalidRequest, UllageError
from ullage.store.passage import Chunk, CollectionRecord
from ullage.store.schema import property_text, record_of
from ullage.store.vectors import VectorStore

FORMAT = "ullage-collection-1"
PASSAGES, RECORD = "passages.jsonl", "collection.json"
ROWS_PER_WRITE = 256
LONGEST_LINE = 16 << 20
IMPORTING = "Importing"

Hear = Callable[[int, int], None]


def _nobody(_done: int, _total: int) -> None:
    """For callers who do not want to know how far it is."""


def export_collection(store: VectorStore, collection: str, path: Path, hear: Hear = _nobody) -> int:
    """Write a collection to a file that is there completely or not at all; how many passages. Raises NotFound."""
    record = store.collection(collection)
    written = 0
    with _whole(path) as scratch, zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(PASSAGES, "w", force_zip64=True) as lines:
            for chunks, vectors in store.everything(collection):
                for chunk, vector in zip(chunks, vectors, strict=True):
                    lines.write(_line(chunk, vector))
                written += len(chunks)
                hear(written, record.chunks)
        said = {"format": FORMAT, "name": record.name, "passages": written, "record": property_text(record)}
        archive.writestr(RECORD, json.dumps(said))
    return written


def import_collection(
    store: VectorStore, path: Path, name: str | None = None, hear: Hear = _nobody
) -> CollectionRecord:
    """A new collection from a file; nothing is left of it when this raises.

    Raises InvalidRequest when there is a collection of that name, or the file is not a whole export.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _import(store, archive, path, name, hear)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise InvalidRequest(f"{path} cannot be imported ({error}): give a file of `ullage collection export`"
                             ) from None


def _import(
    store: VectorStore, archive: zipfile.ZipFile, path: Path, name: str | None, hear: Hear
) -> CollectionRecord:
    said, total = _said(archive, path)
    wanted = name or said.name
    info = {**said.info, "status": IMPORTING}
    if not store.create_collection(
        wanted, embedder=said.embedder, dimension=said.dimension, info=info, schema=said.schema
    ):
        raise InvalidRequest(f"Collection {wanted} already exists: give another name, or delete it first")
    try:
        done = 0
        for chunks, vectors in _read(archive, path, said.dimension):
            store.upsert(wanted, chunks, vectors)
            done += len(chunks)
            hear(done, total)
        store.seal(wanted)
        found = store.count(wanted)
        if not done == found == total:
            raise InvalidRequest(f"{path} says {total} passages and holds {done}, of which {found} were stored: "
                                 "export it again")
        return store.set_info(wanted, said.info)
    except (UllageError, zipfile.BadZipFile, EOFError):
        store.drop(wanted)
        raise


def _said(archive: zipfile.ZipFile, path: Path) -> tuple[CollectionRecord, int]:
    try:
        with archive.open(RECORD) as stream:
            said = json.loads(stream.read(LONGEST_LINE))
        if said["format"] != FORMAT:
            raise ValueError(f"format {said['format']!r}, not {FORMAT}")
        return record_of(str(said["name"]), said["record"], int(said["passages"])), int(said["passages"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRequest(f"{path} is no whole export of a collection ({error}): export it again") from None


def _read(
    archive: zipfile.ZipFile, path: Path, dimension: int
) -> Iterator[tuple[list[Chunk], npt.NDArray[np.float32]]]:
    with archive.open(PASSAGES) as stream:
        lines = io.BufferedReader(stream)  # type: ignore[type-var]
        chunks: list[Chunk] = []
        vectors: list[npt.NDArray[np.float32]] = []
        number = 0
        while line := lines.readline(LONGEST_LINE):
            number += 1
            try:
                chunk, vector = _parsed(line)
            except (KeyError, TypeError, ValueError) as error:
                raise InvalidRequest(f"{path}: line {number} of {PASSAGES} is broken ({error}): export it again"
                                     ) from None
            if len(vector) != dimension:
                raise InvalidRequest(f"{path}: line {number} has a vector of {len(vector)} dimensions, not {dimension}")
            chunks.append(chunk)
            vectors.append(vector)
            if len(chunks) == ROWS_PER_WRITE:
                yield chunks, np.stack(vectors)
                chunks, vectors = [], []
        if chunks:
            yield chunks, np.stack(vectors)


def _line(chunk: Chunk, vector: npt.NDArray[np.float32]) -> bytes:
    encoded = base64.b64encode(np.asarray(vector, "<f4").tobytes()).decode()
    return json.dumps({**asdict(chunk), "vector": encoded}, ensure_ascii=False).encode() + b"\n"


def _parsed(line: bytes) -> tuple[Chunk, npt.NDArray[np.float32]]:
    said: dict[str, Any] = json.loads(line)
    vector = np.frombuffer(base64.b64decode(said.pop("vector"), validate=True), "<f4").astype(np.float32)
    return Chunk(**{**said, "path": tuple(said["path"])}), vector


@contextmanager
def _whole(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name only once it is complete and on the disk."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with scratch.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
