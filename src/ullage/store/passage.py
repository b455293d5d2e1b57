"""What the vector database holds and gives back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from ullage.store.metadata import MetadataField

PLACE_KEYS = ("location", "location_max_dimensions")
"""Of a chunk's metadata: where it stands on its page. They say nothing of the document.

`location` is [left, top, right, bottom] in points from the page's upper left corner, `location_max_dimensions` the
page's [width, height] in points (a picture's at the resolution it states, or 96 dpi). Both are there or neither: a
format without sheets (Markdown, HTML, ...) has none. The page is the chunk's own field `page`; no chunk spans two.
"""


def chunk_id(content_hash: str, document: str, ordinal: int) -> str:
    """The same chunk always gets the same id, so writing it twice leaves one. The name counts: two documents may
    hold the same bytes."""
    return hashlib.sha256(f"{content_hash}\0{document}\0{ordinal}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage of a document.

    `page` is 1-based (1 for formats without pages), `ordinal` counts the document's chunks from 0, `content_hash` is
    the SHA-256 of the file, `created_s` seconds since 1970. `path` are the headings above it, outermost first.
    """

    document: str
    content_hash: str
    ordinal: int
    text: str
    page: int = 1
    path: tuple[str, ...] = ()
    type: str = "text"
    created_s: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return chunk_id(self.content_hash, self.document, self.ordinal)


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found. `score` is larger for better; its scale depends on the search.

    `ranks` maps each search that found it (`dense`, `lexical`, `number`) to its 1-based rank there.
    """

    chunk: Chunk
    score: float
    ranks: dict[str, int]


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection, what its vectors were made by, and the chunks in it. `info` is what its creator said of it.

    `lexical`: its passages can be found by their words too.
    """

    name: str
    embedder: str
    dimension: int
    chunks: int
    info: dict[str, Any] = field(default_factory=dict)
    schema: tuple[MetadataField, ...] = ()
    lexical: bool = True


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document that is completely stored. `info` is what its first chunk says of the whole under `document`,
    `metadata` the rest of that chunk's."""

    name: str
    content_hash: str
    chunks: int
    created_s: float
    metadata: dict[str, Any]
    info: dict[str, Any]
