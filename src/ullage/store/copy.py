"""Copy collections from one vector database to another, such as from Milvus Lite to a cluster.

Document by document, its first chunk last: so what the target lists is there completely, and a copy that was broken off
goes on after the last document listed. At the end both sides are read once more and compared by count and by hash.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ullage.errors import InvalidRequest, UllageError
from ullage.store.passage import Chunk, CollectionRecord
from ullage.store.vectors import VectorStore

COPYING = "Copying"
STATUS, SOURCE = "status", "copied_from"
Hear = Callable[[int, int], None]
MODULUS = 1 << 256


class CopyDiffers(UllageError):
    """What was read back from the target is not what the source holds."""


@dataclass(frozen=True, slots=True)
class Copied:
    """`skipped` passages were there from a copy that was broken off. `digest` is that of either side."""

    collection: str
    documents: int
    passages: int
    skipped: int
    digest: str


def copy_collection(source: VectorStore, target: VectorStore, collection: str, hear: Hear = lambda *_: None) -> Copied:
    """Complete documents of a collection, with their vectors. `hear` is told passages done and in all.

    Raises NotFound, InvalidRequest when the target holds a collection of that name that is no copy under way, and
    CopyDiffers.
    """
    record = source.collection(collection)
    _begin(source, target, record)
    wanted = {document.name: document for document in source.documents(collection)}
    there = {document.name: document.content_hash for document in target.documents(collection)}
    total = sum(document.chunks for document in wanted.values())
    done = skipped = 0
    for name, document in wanted.items():
        if there.get(name) == document.content_hash:
            skipped += document.chunks
        else:
            _copy_document(source, target, collection, name)
        done += document.chunks
        hear(done, total)
    target.seal(collection)
    passages, digest = _compare(source, target, collection, {name: d.content_hash for name, d in wanted.items()})
    target.set_info(collection, record.info)
    return Copied(collection, len(wanted), passages, skipped, digest)


def _begin(source: VectorStore, target: VectorStore, record: CollectionRecord) -> None:
    """A new collection that says it is being copied, or the one that an earlier copy left so."""
    marked = {**record.info, STATUS: COPYING, SOURCE: source.uri}
    if target.create_collection(record.name, embedder=record.embedder, dimension=record.dimension, info=marked,
                                schema=record.schema):
        return
    found = target.collection(record.name)
    if (found.info.get(STATUS), found.info.get(SOURCE)) != (COPYING, source.uri):
        raise InvalidRequest(f"{target.uri} has a collection {record.name} already, and no copy from {source.uri} is "
                             "under way there: delete it there first, or copy other collections (--collection)")
    target.check_embedder(record.name, embedder=record.embedder, dimension=record.dimension)


def _copy_document(source: VectorStore, target: VectorStore, collection: str, name: str) -> None:
    chunks, vectors = source.chunks(collection, name)
    target.upsert(collection, chunks[1:], vectors[1:])
    target.upsert(collection, chunks[:1], vectors[:1])


def _compare(source: VectorStore, target: VectorStore, collection: str, wanted: Mapping[str, str]) -> tuple[int, str]:
    mine, theirs = fingerprint(source, collection, wanted), fingerprint(target, collection, wanted)
    stored = target.count(collection)
    if mine != theirs or stored != theirs[0]:
        raise CopyDiffers(f"collection {collection}: {source.uri} holds {mine[0]} passages with digest {mine[1][:16]}, "
                          f"{target.uri} holds {stored}, of these {theirs[0]} with digest {theirs[1][:16]}: it stays "
                          f"marked as {COPYING}; delete it there and copy again, with nothing written meanwhile")
    return mine


def fingerprint(store: VectorStore, collection: str, wanted: Mapping[str, str]) -> tuple[int, str]:
    """Passages of the documents `wanted` (content hash by name), and a digest that no order changes."""
    count = digest = 0
    for chunks, vectors in store.everything(collection):
        for chunk, vector in zip(chunks, vectors, strict=True):
            if wanted.get(chunk.document) == chunk.content_hash:
                count += 1
                digest = (digest + _hash(chunk, vector)) % MODULUS
    return count, f"{digest:064x}"


def _hash(chunk: Chunk, vector: npt.NDArray[np.float32]) -> int:
    said: dict[str, Any] = asdict(chunk)
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, default=str)
    return int.from_bytes(hashlib.sha256(text.encode() + np.asarray(vector, "<f4").tobytes()).digest())
