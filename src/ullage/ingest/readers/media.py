"""Audio and video: no reader of ours; a transcription endpoint hears them."""

from __future__ import annotations

from collections.abc import Iterator

from ullage.errors import DocumentRefused
from ullage.ingest.document import Page
from ullage.ingest.readers.source import Source

MEDIA = frozenset((".mp3", ".wav", ".mp4", ".mov", ".avi", ".mkv"))


def read_media(source: Source) -> Iterator[Page]:
    raise refusal(source.name)


def refusal(name: str) -> DocumentRefused:
    return DocumentRefused(f"{name}: is audio or video, and no transcription is set; set transcription_url to an "
                           "OpenAI-compatible endpoint, or give a transcript as text")
