"""What a file is by its first bytes, whatever its name says."""

from __future__ import annotations

from pathlib import Path

from ullage.errors import DocumentRefused

HEAD_BYTES = 1024
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive (or an Office file)"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\xd0\xcf\x11\xe0", "an old Office file"),
    (b"{\\rtf", "an RTF file"),
)


def check_kind(path: Path, name: str, suffix: str) -> None:
    """Raises DocumentRefused when the content contradicts the extension."""
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    kind = kind_of(head)
    if suffix == ".pdf" and kind != "a PDF":
        raise DocumentRefused(f"{name}: is {kind or 'not a PDF'}, not a PDF as its name says; rename or convert it")
    if suffix != ".pdf" and kind is not None:
        raise DocumentRefused(f"{name}: is {kind}, not {suffix.removeprefix('.')} as its name says; rename it")


def kind_of(head: bytes) -> str | None:
    """What the first bytes say in words; None for plain text and what we do not know."""
    if b"%PDF-" in head[:HEAD_BYTES] and head.lstrip(b"\xef\xbb\xbf \r\n\t\x00")[:5] == b"%PDF-":
        return "a PDF"
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return None
