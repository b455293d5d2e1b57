"""One reader a format. `pages_of` checks a file before any of them sees it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ullage.errors import DocumentRefused
from ullage.ingest.document import Document, Page, Rendering
from ullage.ingest.readers.source import Reader, Source, Wish

_READERS = {
    ".avi": "media.read_media",
    ".bmp": "pictures.read_picture",
    ".csv": "csv.read_csv",
    ".docx": "docx.read_docx",
    ".eml": "",
    ".epub": "epub.read_epub",
    ".gif": "pictures.read_picture",
    ".htm": "html.read_html",
    ".html": "html.read_html",
    ".jpeg": "pictures.read_picture",
    ".jpg": "pictures.read_picture",
    ".json": "json.read_json",
    ".markdown": "markdown.read_markdown",
    ".md": "markdown.read_markdown",
    ".mkv": "media.read_media",
    ".mov": "media.read_media",
    ".mp3": "media.read_media",
    ".mp4": "media.read_media",
    ".pdf": "pdf.read_pdf",
    ".png": "pictures.read_picture",
    ".pptx": "pptx.read_pptx",
    ".sh": "text.read_text",
    ".tif": "pictures.read_picture",
    ".tiff": "pictures.read_picture",
    ".txt": "text.read_text",
    ".wav": "media.read_media",
    ".xlsx": "xlsx.read_xlsx",
}
"""Suffix to module and function: an ingestor loads only the libraries of the formats that it is given."""

BEYOND_BLUEPRINT = frozenset((".csv", ".eml", ".epub", ".gif", ".htm", ".markdown", ".tif", ".xlsx"))
"""What the stack we replace does not take, and `strict_compatibility` refuses."""

RENDERED = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pdf", ".png", ".tif", ".tiff"))
"""Files whose pages can be shown as they look."""

SUPPORTED = tuple(suffix.removeprefix(".") for suffix in _READERS)
STRICTLY_SUPPORTED = tuple(suffix.removeprefix(".") for suffix in _READERS if suffix not in BEYOND_BLUEPRINT)


def extension(name: str, *, strict: bool = False) -> str:
    """The suffix that chooses the reader. Raises DocumentRefused naming those there are."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in _READERS or (strict and suffix in BEYOND_BLUEPRINT):
        known = ", ".join(STRICTLY_SUPPORTED if strict else SUPPORTED)
        raise DocumentRefused(f"{name}: Unsupported file type, supported file types are: {known}")
    return suffix


def read(path: Path, name: str | None = None, *, limit_bytes: int | None = None, wish: Wish | None = None) -> Document:
    """The document in `path`, called `name` (default: the file's own name), read in this process.

    Raises DocumentRefused with one line that names the file, what is wrong with it and what would help.
    """
    source = Source(path.name if name is None else name, path, wish=wish or Wish())
    pages = tuple(pages_of(source, limit_bytes=limit_bytes))
    return Document(source.name, pages, tuple(source.warnings))


def pages_of(source: Source, *, limit_bytes: int | None = None) -> Iterator[Page]:
    """The pages of a file as they are read. Raises DocumentRefused, at the latest at the end."""
    suffix = extension(source.name)
    if source.path is not None:
        check_file(source.path, source.name, limit_bytes)
    elif not source.content:
        raise DocumentRefused(f"{source.name}: is empty (0 bytes); attach it again")
    from ullage.ingest.readers.sniff import check_kind

    check_kind(source, suffix)
    found = False
    for page in _reader(suffix)(source):
        found = found or bool(page.blocks or page.pictures)
        yield page
    if not found:
        raise DocumentRefused(f"{source.name}: holds no text that could be searched; give a file with text in it")


def rendered(source: Source, number: int, pixels: int) -> Rendering:
    """How page `number` of a file looks, its longer side of about `pixels`. Raises DocumentRefused, NotFound."""
    suffix = extension(source.name)
    if suffix not in RENDERED:
        raise DocumentRefused(f"{source.name}: pages of {suffix} files cannot be shown, only of PDFs and pictures")
    assert source.path is not None
    check_file(source.path, source.name, None)
    from ullage.ingest.readers.sniff import check_kind

    check_kind(source, suffix)
    if suffix == ".pdf":
        from ullage.ingest.readers.pdf import render_pdf

        return render_pdf(source, number, pixels)
    from ullage.ingest.readers.pictures import render_picture

    return render_picture(source, number, pixels)


def _reader(suffix: str) -> Reader:
    if suffix == ".eml":
        from ullage.ingest.readers.eml import read_eml

        return lambda source: read_eml(source, pages_of)
    module, _, function = _READERS[suffix].partition(".")
    reader: Reader = getattr(importlib.import_module(f"ullage.ingest.readers.{module}"), function)
    return reader


def check_file(path: Path, name: str, limit_bytes: int | None) -> None:
    """A regular file with something in it, of at most `limit_bytes`."""
    try:
        if path.is_dir():
            raise DocumentRefused(f"{name}: is a directory; name the files in it")
        size = path.stat().st_size
    except FileNotFoundError:
        raise DocumentRefused(f"{name}: does not exist; check the path") from None
    except OSError as error:
        raise DocumentRefused(f"{name}: cannot be read ({error.strerror}); check its permissions") from None
    if not path.is_file():
        raise DocumentRefused(f"{name}: is no regular file; give a file")
    if size == 0:
        raise DocumentRefused(f"{name}: is empty (0 bytes); upload it again")
    if limit_bytes is not None and size > limit_bytes:
        raise DocumentRefused(f"{name}: has {size} bytes, the limit is {limit_bytes} (max_upload); split it")
