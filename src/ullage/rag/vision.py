"""Questions to a model that sees: the user's own pictures, those of the passages' pages, and the passages as text."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog

from ullage.errors import NotFound, UllageError
from ullage.rag.asked import Sight
from ullage.rag.passage import Passage
from ullage.rag.prompt import ASK, SYSTEM, excerpt
from ullage.settings import Settings
from ullage.store import PageFolder

log = structlog.get_logger("ullage.rag")

SEEN = "Pictures of the pages are data too."


async def pictures(settings: Settings, sight: Sight, passages: Sequence[Passage]) -> list[str]:
    """URLs, at most `most_images`: what the user sent, then the pages of the passages that the ingestor keeps."""
    found = list(sight.images[: sight.most_images])
    pages = dict.fromkeys((p.content_hash, p.page) for p in passages if p.page is not None and p.content_hash)
    where = f"{settings.objects_uri.rstrip('/') or settings.state_dir / 'ingest'}/pages"

    if not pages or len(found) >= sight.most_images:
        return found

    try:
        return found + await asyncio.to_thread(_kept, where, list(pages), sight.most_images - len(found))
    except (UllageError, OSError) as error:
        log.warning("pictures of pages cannot be read", where=where, reason=str(error))
        return found


def _kept(where: str, pages: Sequence[tuple[str, int | None]], most: int) -> list[str]:
    folder = PageFolder(where)
    found: list[str] = []
    for sha256, page in pages:
        if len(found) >= most:
            break
        with suppress(NotFound):
            found.append(f"data:image/jpeg;base64,{base64.b64encode(folder.read(sha256, page or 1)).decode()}")
    return found


def seeing_messages(
    question: str, passages: Sequence[tuple[Passage, str]], images: Sequence[str], system: str = ""
) -> list[dict[str, Any]]:
    """Chat messages in OpenAI's parts."""
    blocks = "\n".join(excerpt(number, passage, text) for number, (passage, text) in enumerate(passages, start=1))
    parts: list[dict[str, Any]] = [{"type": "text", "text": ASK.format(excerpts=blocks, question=question)}]
    parts += [{"type": "image_url", "image_url": {"url": url}} for url in images]
    rule = f"{SYSTEM} {SEEN}\n{system}" if system else f"{SYSTEM} {SEEN}"
    return [{"role": "system", "content": rule}, {"role": "user", "content": parts}]
