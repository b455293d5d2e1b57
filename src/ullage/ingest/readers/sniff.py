"""What a file is by its content, whatever its name says."""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath

from ullage.errors import DocumentRefused
from ullage.ingest.readers.source import Source

HEAD_BYTES = 1024
ZIP = "a ZIP archive (or an Office file)"
OLE = "an old or encrypted Office file"
PDF = "a PDF"
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"PK\x03\x04", ZIP),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\x00", "a TIFF image"),
    (0, b"MM\x00*", "a TIFF image"),
    (8, b"WEBP", "a WebP image"),
    (8, b"WAVE", "WAV audio"),
    (8, b"AVI ", "an AVI video"),
    (0, b"ID3", "MP3 audio"),
    (0, b"\xff\xfb", "MP3 audio"),
    (0, b"\xff\xf3", "MP3 audio"),
    (0, b"\xff\xf2", "MP3 audio"),
    (4, b"ftypqt", "a QuickTime video"),
    (4, b"ftyp", "an MP4 video"),
    (4, b"moov", "a QuickTime video"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska video"),
    (0, b"OggS", "Ogg audio"),
    (0, b"fLaC", "FLAC audio"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ\x90\x00", "a program"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"\xfd7zXZ", "an xz archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"SQLite format 3\x00", "a SQLite database"),
    (0, b"\xd0\xcf\x11\xe0", OLE),
    (0, b"{\\rtf", "an RTF file"),
)
_INSIDE_ZIP = (
    ("word/", "a Word file"),
    ("ppt/", "a PowerPoint file"),
    ("xl/", "an Excel file"),
    ("META-INF/container.xml", "an EPUB book"),
    ("content.xml", "an OpenDocument file"),
)
KIND_OF_SUFFIX = {
    ".pdf": PDF,
    ".docx": "a Word file",
    ".pptx": "a PowerPoint file",
    ".xlsx": "an Excel file",
    ".epub": "an EPUB book",
    ".png": "a PNG image",
    ".jpg": "a JPEG image",
    ".jpeg": "a JPEG image",
    ".gif": "a GIF image",
    ".bmp": "a BMP image",
    ".tif": "a TIFF image",
    ".tiff": "a TIFF image",
    ".mp3": "MP3 audio",
    ".wav": "WAV audio",
    ".mp4": "an MP4 video",
    ".mov": "a QuickTime video",
    ".avi": "an AVI video",
    ".mkv": "a Matroska video",
}
"""Suffixes that are not here are text."""

_REMEDY = {
    OLE: "remove its password or save it in the current format",
    "an OpenDocument file": "save it as an Office file or PDF",
    "an RTF file": "save it as docx or PDF",
}


def check_kind(source: Source, suffix: str) -> None:
    """Raises DocumentRefused when the content contradicts the extension."""
    wanted = KIND_OF_SUFFIX.get(suffix)
    kind = kind_of(source.head(HEAD_BYTES))
    if kind == ZIP and wanted != PDF:
        kind = _inside(source) or kind
    if kind == wanted or {kind, wanted} == {"an MP4 video", "a QuickTime video"}:
        return
    said = wanted or suffix.removeprefix(".")
    remedy = _REMEDY.get(kind or "", "rename or convert it" if wanted else "rename it")
    found = f"is {kind}, not" if kind else "is not"
    raise DocumentRefused(f"{source.name}: {found} {said} as its name says; {remedy}")


def kind_of(head: bytes) -> str | None:
    """What the first bytes say in words; None for plain text and what we do not know."""
    if head.lstrip(b"\xef\xbb\xbf \r\n\t\x00")[:5] == b"%PDF-":
        return PDF
    for place, magic, kind in _MAGIC:
        if head[place : place + len(magic)] == magic:
            return kind
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "a BMP image"
    return None


def _inside(source: Source) -> str | None:
    """What a ZIP container holds; None when it cannot be opened or holds something else."""
    try:
        with source.open() as stream, zipfile.ZipFile(stream) as opened:
            names = set(opened.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, EOFError):
        return None
    for beginning, kind in _INSIDE_ZIP:
        if any(name.startswith(beginning) for name in names if ".." not in PurePosixPath(name).parts):
            return kind
    return None
