"""Sentences of an answer and the passages they stand nearest to, by the ranking service's own scores.

A score says what a sentence is about, not that it is true: "The tug costs £2,000" stands near the tug's real price. So
what is supported is decided by the checks of `rag/ground.py` alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import structlog

from ullage.clients.ranking import RankingClient
from ullage.errors import DeadlineExceeded, RequestError, Unavailable
from ullage.rag.events import Link, Sentence
from ullage.rag.passage import Passage
from ullage.rag.rests import Rests

log = structlog.get_logger("ullage.rag")

PASSAGES_LINKED = 5
LINKS = 3


async def links(
    client: RankingClient, rests: Rests, sentences: Sequence[str], passages: Sequence[Passage]
) -> list[tuple[Link, ...]] | None:
    """The best passages of each sentence; None when the ranking service is away."""
    texts = [passage.text for passage in passages[:PASSAGES_LINKED]]
    if not texts or not sentences:
        return [() for _ in sentences]
    try:
        rows = await asyncio.gather(
            *(rests.ask("ranking", lambda said=said: client.rank(said, texts)) for said in sentences))  # type: ignore[misc]
    except (Unavailable, DeadlineExceeded, RequestError) as error:
        log.warning("sentences are not linked to passages", reason=error.message)
        return None
    return [tuple(Link(int(at), float(row[at])) for at in np.argsort(-row, kind="stable")[:LINKS]) for row in rows]


def with_links(sentences: Sequence[Sentence], found: Sequence[tuple[Link, ...]]) -> tuple[Sentence, ...]:
    return tuple(replace(sentence, links=link) for sentence, link in zip(sentences, found, strict=True))
