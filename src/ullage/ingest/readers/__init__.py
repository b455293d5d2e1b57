"""One reader a format. `read` checks a file before any of them sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ullage.errors import DocumentRefused
from ullage.ingest.document import Document
from ullage.ingest.readers.html import read_html
from ullage.ingest.readers.markdown import read_markdown
from ullage.ingest.readers.pdf import read_pdf
from ullage.ingest.readers.sniff import check_kind
from ullage.ingest.readers.text import read_text

Reader = Callable[[Path, str], Document]

READERS: dict[str, Reader] = {
    ".htm": read_html,
    ".html": read_html,
    ".markdown": read_markdown,
    ".md": read_markdown,
    ".pdf": read_pdf,
    ".txt": read_text,
}
SUPPORTED = tuple(suffix.removeprefix(".") for suffix in READERS)
LONGEST_TEXT_BYTES = 64 << 20
"""Of a format that is read into memory as a whole."""


def extension(name: str) -> str:
    """The suffix that chooses the reader. Raises DocumentRefused naming those there are."""
    suffix = Path(name).suffix.lower()
    if suffix not in READERS:
        raise DocumentRefused(f"{name}: Unsupported file type, supported file types are: {', '.join(SUPPORTED)}")
    return suffix


def read(path: Path, name: str | None = None, *, limit_bytes: int | None = None) -> Document:
    """The document in `path`, called `name` (default: the file's own name).

    Raises DocumentRefused with one line that names the file, what is wrong with it and what would help.
    """
    name = path.name if name is None else name
    suffix = extension(name)
    check_file(path, name, limit_bytes)
    if suffix != ".pdf":
        check_file(path, name, LONGEST_TEXT_BYTES)
    check_kind(path, name, suffix)
    document = READERS[suffix](path, name)
    if not any(page.blocks for page in document.pages):
        raise DocumentRefused(f"{name}: holds no text that could be searched; give a file with text in it")
    return document


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
