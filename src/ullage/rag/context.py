"""What stands around the passages: their whole pages and those beside them, for the model to read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ullage.rag.passage import Passage, from_chunk
from ullage.store import VectorStore
from ullage.store.pages import chunks_between

PAGELESS_REACH = 2
"""Chunks on each side, where a format has no pages."""


@dataclass(frozen=True, slots=True)
class Context:
    """`read` are the passages and, after them, what stands around them; `ranks` says for each how far behind it counts.
    `pages` holds the text of the pages around each of the first passages, in their order."""

    read: tuple[Passage, ...]
    ranks: tuple[int, ...] = ()
    pages: tuple[tuple[Passage, str], ...] = ()


async def around(
    vectors: VectorStore, passages: Sequence[Passage], count: int, neighbours: int, characters: int
) -> Context:
    """The pages of the first `count` passages, `neighbours` pages on each side; no more than `characters` in all."""
    first = passages[:count]
    found = await asyncio.gather(*(asyncio.to_thread(_fetch, vectors, passage, neighbours) for passage in first))
    read, ranks = list(passages), list(range(len(passages)))
    known = {(passage.collection, passage.document, passage.ordinal) for passage in passages}
    pages: list[tuple[Passage, str]] = []
    told: set[tuple[str, str, int]] = set()
    left = characters
    for rank, (passage, near) in enumerate(zip(first, found, strict=True)):
        fresh = [one for one in near if (one.collection, one.document, one.ordinal) not in told]
        told |= {(one.collection, one.document, one.ordinal) for one in fresh}
        text = "\n".join(one.text[one.body_at :] for one in fresh)[:left]
        left -= len(text)
        if text:
            pages.append((passage, text))
        for one in fresh:
            if (one.collection, one.document, one.ordinal) not in known:
                read.append(one)
                ranks.append(rank + 1)
    return Context(tuple(read), tuple(ranks), tuple(pages))


def _fetch(vectors: VectorStore, passage: Passage, neighbours: int) -> list[Passage]:
    where = (vectors, passage.collection, passage.document)
    if passage.page is None:
        reach = PAGELESS_REACH + neighbours
        chunks = chunks_between(*where, "ordinal", passage.ordinal - reach, passage.ordinal + reach)
    else:
        chunks = chunks_between(*where, "page", passage.page - neighbours, passage.page + neighbours)
    return [from_chunk(chunk, passage.collection) for chunk in chunks]
