"""One page of a stored document as it looks: from its upload, else its thumbnail."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

from ullage.errors import DocumentRefused, NotFound
from ullage.ingest.readers import RENDERED, extension
from ullage.ingest.service import IngestService
from ullage.store import DocumentRecord


@dataclass(frozen=True, slots=True)
class Shown:
    """`width` and `height` are in the units of a passage's `location`."""

    png: bytes = field(repr=False)
    width: float
    height: float
    source: Literal["original", "thumbnail"]


async def shown_page(service: IngestService, collection: str, name: str, page: int, pixels: int) -> Shown:
    """Raises NotFound for a collection, document or page that is not there, DocumentRefused for other formats."""
    found = await asyncio.to_thread(service.ready_store().documents, collection, [name])
    if not found:
        raise NotFound(f"Document {name[:80]} does not exist in collection {collection}: GET /documents lists them")
    [document] = found
    pages = int(document.info.get("pages", 1))
    if page > pages:
        raise NotFound(f"{name}: has no page {page}: it has {pages}")
    if extension(name) not in RENDERED:
        raise DocumentRefused(f"{name}: pages of {extension(name)} files cannot be shown, only of PDFs and pictures")
    uploads = service.opened().kept.uploads
    if not await asyncio.to_thread(uploads.has, document.content_hash):
        return await asyncio.to_thread(_thumbnail, service, collection, document, page)
    opened = uploads.as_file(document.content_hash)
    path = await asyncio.to_thread(opened.__enter__)
    try:
        made = await service.sandbox.render(path, name, page, pixels)
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)
    return Shown(made.png, made.width, made.height, "original")


def _thumbnail(service: IngestService, collection: str, document: DocumentRecord, page: int) -> Shown:
    """A small JPEG that a reader's process made of the page."""
    try:
        jpeg = service.pages.read(document.content_hash, page)
    except NotFound:
        raise NotFound(f"{document.name}: neither its file nor a picture of page {page} is kept (keep_uploads, "
                       "thumbnail_pixels); upload it again with PATCH /documents") from None
    stream = io.BytesIO()
    with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
        image.save(stream, "PNG")
        size = service.ready_store().page_size(collection, document.name, page) or image.size
    return Shown(stream.getvalue(), float(size[0]), float(size[1]), "thumbnail")
