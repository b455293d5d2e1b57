"""Plain text, and bytes to text for every format that is text inside."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from charset_normalizer import from_bytes

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Page, clean
from ullage.ingest.readers.source import Source

_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE_BYTES = 1 << 16


def read_text(source: Source) -> Iterator[Page]:
    """Paragraphs between blank lines."""
    yield Page(1, tuple(Block("paragraph", part) for part in paragraphs(decode(source.read(), source.name))))


def paragraphs(text: str) -> list[str]:
    return [part for part in map(clean, _BLANK_LINE.split(text)) if part]


def decode(content: bytes, name: str) -> str:
    """Text of UTF-8, of anything with a byte order mark, or of the 8-bit code it most likely is.

    Raises DocumentRefused for bytes that are no text.
    """
    encoding = next((encoding for mark, encoding in _BOMS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = "" if encoding != "utf-8" else _guess(content)
    if not text or "\0" in text:
        raise DocumentRefused(f"{name}: is not text (no UTF-8, no byte order mark, no 8-bit code that makes sense); "
                              "save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _guess(content: bytes) -> str:
    if b"\0" in content:
        return ""
    best = from_bytes(content[:SAMPLE_BYTES], threshold=0.1).best()
    if best is None:
        return ""
    try:
        return content.decode(best.encoding)
    except (UnicodeDecodeError, LookupError):
        return ""
