"""Documents as they pass from stage to stage: one row a document, in Arrow tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ullage.store import Chunk
from ullage.store.ledger_bulk import Ending

Float32 = npt.NDArray[np.float32]
Table = Any
"""A `pyarrow.Table`, whose package has no types."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A file to be read, and how its text is cut. `number` is its own in the ledger."""

    number: int
    name: str
    path: str
    chunk_tokens: int
    chunk_overlap: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document under way: its passages, and vectors [n, dimension] once it is embedded. With an `error` none.

    `info` is what its first passage says of the whole.
    """

    number: int
    name: str
    sha256: str = ""
    error: str = ""
    warnings: tuple[str, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    vectors: Float32 = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def refused(self, error: str) -> Document:
        return Document(self.number, self.name, self.sha256, error)

    @property
    def ending(self) -> Ending:
        return Ending(self.number, self.error, self.warnings, len(self.chunks), self.sha256)


def arrow() -> Any:
    """Imported where it is used: it comes with Ray, and a server's start need not load it."""
    import pyarrow  # type: ignore[import-untyped]

    return pyarrow


def asked_table(asked: Sequence[Asked]) -> Table:
    return arrow().Table.from_pylist([asdict(one) for one in asked])


def asked_of(table: Table) -> list[Asked]:
    return [Asked(**row) for row in table.to_pylist()]


def table_of(documents: Sequence[Document]) -> Table:
    """Types are stated: an empty column has none that could be guessed."""
    pa = arrow()
    columns: list[tuple[str, Any, list[Any]]] = [
        ("number", pa.int64(), [d.number for d in documents]),
        ("name", pa.string(), [d.name for d in documents]),
        ("sha256", pa.string(), [d.sha256 for d in documents]),
        ("error", pa.string(), [d.error for d in documents]),
        ("warnings", pa.list_(pa.string()), [list(d.warnings) for d in documents]),
        ("chunks", pa.large_binary(), [orjson.dumps([asdict(chunk) for chunk in d.chunks]) for d in documents]),
        ("vectors", pa.large_binary(), [np.asarray(d.vectors, "<f4").tobytes() for d in documents]),
    ]
    return pa.table({name: pa.array(values, kind) for name, kind, values in columns})


def documents_of(table: Table) -> list[Document]:
    return [_document(row) for row in table.to_pylist()]


def _document(row: dict[str, Any]) -> Document:
    chunks = tuple(Chunk(**{**said, "path": tuple(said["path"])}) for said in orjson.loads(row["chunks"]))
    vectors = np.frombuffer(row["vectors"], "<f4").astype(np.float32)
    return Document(row["number"], row["name"], row["sha256"], row["error"], tuple(row["warnings"]), chunks,
                    vectors.reshape(len(chunks), -1) if chunks and vectors.size else np.empty((0, 0), np.float32))


def endings_table(endings: Sequence[Ending]) -> Table:
    """What the last stage gives back: no text and no vectors."""
    pa = arrow()
    kinds = {"number": pa.int64(), "error": pa.string(), "warnings": pa.list_(pa.string()), "chunks": pa.int64(),
             "sha256": pa.string()}
    said = [asdict(ending) for ending in endings]
    return pa.table({name: pa.array([one[name] for one in said], kind) for name, kind in kinds.items()})


def endings_of(table: Table) -> list[Ending]:
    return [Ending(**{**row, "warnings": tuple(row["warnings"])}) for row in table.to_pylist()]


def embedded(documents: Sequence[Document], vectors: Float32) -> list[Document]:
    """Documents with their part of `vectors` [all passages, dimension], in order."""
    found, begin = [], 0
    for document in documents:
        end = begin + len(document.chunks)
        found.append(replace(document, vectors=vectors[begin:end]))
        begin = end
    return found


def texts_of(documents: Iterable[Document]) -> list[str]:
    return [chunk.text for document in documents for chunk in document.chunks]
