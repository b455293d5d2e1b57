"""A retrieved passage on its way through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ullage.store import PLACE_KEYS, Chunk
from ullage.store.fusion import FoundRow

_PAGED = (".pdf", ".pptx", ".ppt", ".tif", ".tiff", ".docx")
"""Formats with pages; the store calls all of any other document page 1."""


@dataclass(frozen=True, slots=True)
class Passage:
    """`page` is 1-based, None where the format has no pages. `headings` run from the document's title inwards.

    `retrieval_rank` counts from 0, `retrieval_score` is the vector store's (RRF). `logit` is the reranker's raw score,
    None when none was given.
    """

    text: str
    document: str
    page: int | None = None
    headings: tuple[str, ...] = ()
    kind: str = "text"
    collection: str = ""
    retrieval_rank: int = 0
    retrieval_score: float = 0.0
    logit: float | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    created_s: float = 0.0
    content_hash: str = ""
    ordinal: int = 0

    @property
    def box(self) -> tuple[float, ...]:
        """Left, top, right, bottom in points from the page's upper left corner; empty where it is not known."""
        return tuple(self.metadata.get("location") or ())

    @property
    def page_size(self) -> tuple[float, ...]:
        """The page's width and height in points; empty where they are not known."""
        return tuple(self.metadata.get("location_max_dimensions") or ())

    @property
    def own_metadata(self) -> dict[str, Any]:
        """What the uploader said, without the place and the document's own record."""
        return {name: value for name, value in self.metadata.items() if name not in (*PLACE_KEYS, "document")}

    @property
    def body_at(self) -> int:
        """Where the text begins below the line of headings that the ingestor puts above each passage."""
        line, newline, _ = self.text.partition("\n")
        return len(line) + 1 if newline and line and " > ".join(self.headings).endswith(line) else 0

    @property
    def place(self) -> str:
        """How a reader is told where this stands."""
        if self.page is not None:
            return f"{self.document}, page {self.page}"
        return f'{self.document}, "{self.headings[-1]}"' if self.headings else self.document


@dataclass(slots=True)
class Candidate:
    """A passage as it was found. Of a hundred that are ordered ten are kept: the rest of its fields is read then."""

    hit: FoundRow
    retrieval_rank: int
    collection: str

    @property
    def id(self) -> tuple[str, str]:
        return self.collection, self.hit.id

    @property
    def text(self) -> str:
        return self.hit.text

    @property
    def retrieval_score(self) -> float:
        return self.hit.score

    def read(self, logit: float | None = None) -> Passage:
        """With the reranker's score, where it gave one."""
        return from_chunk(self.hit.chunk, self.collection, self.retrieval_rank, self.hit.score, logit)


def from_chunk(
    chunk: Chunk, collection: str, rank: int = 0, score: float = 0.0, logit: float | None = None
) -> Passage:
    return Passage(
        text=chunk.text,
        document=chunk.document,
        page=chunk.page if chunk.document.lower().endswith(_PAGED) else None,
        headings=chunk.path,
        kind=chunk.type,
        collection=collection,
        retrieval_rank=rank,
        retrieval_score=score,
        logit=logit,
        metadata=chunk.metadata,
        created_s=chunk.created_s,
        content_hash=chunk.content_hash,
        ordinal=chunk.ordinal,
    )
