"""Audio and video as documents: what an OpenAI-compatible transcription service heard."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ullage.clients.transcription import Heard, TranscriptionClient
from ullage.errors import DocumentRefused, InvalidRequest
from ullage.ingest.document import Block, Page
from ullage.ingest.readers import extension
from ullage.ingest.readers.sniff import check_kind
from ullage.ingest.readers.source import Source
from ullage.settings import Settings

SECONDS_PER_HEADING = 60
"""Chunks name the minute they come from: sound has no pages."""


class Hear:
    """One service for all sound."""

    def __init__(self, client: TranscriptionClient) -> None:
        self._client = client

    @classmethod
    def of(cls, settings: Settings) -> Hear | None:
        """None where no transcription service is set."""
        if not settings.transcription_url:
            return None
        key = settings.transcription_api_key
        return cls(TranscriptionClient(
            settings.transcription_url,
            model=settings.transcription_model,
            api_key=key.get_secret_value() if key is not None else "",
            timeout_s=settings.request_timeout_s,
        ))

    async def close(self) -> None:
        await self._client.close()

    async def pages(self, path: Path, name: str) -> list[Page]:
        """One page of paragraphs. Raises DocumentRefused for a file that is no sound, DependencyDown."""
        await asyncio.to_thread(check_kind, Source(name, path), extension(name))
        try:
            heard = await self._client.transcribe(path, name)
        except InvalidRequest as error:
            raise DocumentRefused(f"{name}: {error.message}") from None
        return [Page(1, tuple(_block(one) for one in heard if one.text))]


def _block(one: Heard) -> Block:
    minute = int(one.start_s // SECONDS_PER_HEADING)
    begin, end = divmod(minute * SECONDS_PER_HEADING, 3600), divmod((minute + 1) * SECONDS_PER_HEADING, 3600)
    clock = " to ".join(f"{hours}:{rest // 60:02d}:{rest % 60:02d}" for hours, rest in (begin, end))
    return Block("paragraph", one.text, path=(clock,) if one.end_s else ())
