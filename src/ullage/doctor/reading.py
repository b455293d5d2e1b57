"""Read a file that may be anything, in bounded memory: pieces that end at a line's end, as UTF-8 bytes.

Files are opened to be read and nothing else. A device, a pipe or a folder is refused.
"""

from __future__ import annotations

import codecs
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import re2

from ullage.errors import InvalidRequest
from ullage.settings.foreign import one_line

PIECE_BYTES = 1 << 20
HEAD_BYTES = 64 << 10
MOST_BYTES = 2 << 30
"""What is read of one file; of a larger one the beginning."""

_COLOUR = re2.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")
_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF8, "utf-8-sig"),
          (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines, unless one is longer than a piece; `first_line` counts from 1."""

    data: bytes
    first_line: int


def open_file(path: Path) -> IO[bytes]:
    """Raises InvalidRequest for what cannot be read or is no plain file."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidRequest(f"{one_line(str(path))} is no plain file: give a compose, env or values file or a log")
        return path.open("rb")
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise InvalidRequest(f"{one_line(str(path))} cannot be read: {said}") from None


def head(path: Path) -> str:
    """The first HEAD_BYTES as text; what is no UTF-8 or UTF-16 is taken for Latin-1."""
    with open_file(path) as stream:
        return text_of(stream.read(HEAD_BYTES))


def whole(path: Path, most: int) -> str | None:
    """All of a file as text, or None when it is larger than `most` bytes."""
    with open_file(path) as stream:
        data = stream.read(most + 1)
    return None if len(data) > most else text_of(data)


def text_of(data: bytes) -> str:
    encoding = encoding_of(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        # A piece may be cut inside of a letter: then all but its last bytes read well.
        if encoding != "utf-8" or len(data) - error.start < 4:
            return data.decode(encoding, errors="replace")
        return data.decode("latin-1")


def encoding_of(data: bytes) -> str:
    """By its mark; without one, every second byte a zero is UTF-16."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    sample = data[:4096]
    if len(sample) >= 8:
        for start, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
            part = sample[start::2]
            if part.count(0) > 0.7 * len(part) and sample[1 - start::2].count(0) < 0.1 * len(part):
                return encoding
    return "utf-8"


def pieces(path: Path) -> Iterator[Piece]:
    """The file piece by piece, as UTF-8, without the colours of a terminal."""
    with open_file(path) as stream:
        start = stream.read(8192)
        encoding = encoding_of(start)
        stream.seek(0)
        yield from _lines(_utf8(stream, encoding))


def _utf8(stream: IO[bytes], encoding: str) -> Iterator[bytes]:
    decoder = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)(errors="replace")
    left = MOST_BYTES
    while left > 0 and (data := stream.read(min(PIECE_BYTES, left))):
        left -= len(data)
        yield data if decoder is None else decoder.decode(data).encode("utf-8", errors="replace")


def _lines(blocks: Iterator[bytes]) -> Iterator[Piece]:
    rest = b""
    line = 1
    for block in blocks:
        data = rest + block
        end = data.rfind(b"\n") + 1
        if not end and len(data) < PIECE_BYTES:
            rest = data
            continue
        # A line longer than a piece is looked at in parts.
        end = end or len(data)
        rest = data[end:]
        yield Piece(_plain(data[:end]), line)
        line += data.count(b"\n", 0, end)
    if rest:
        yield Piece(_plain(rest), line)


def _plain(data: bytes) -> bytes:
    return bytes(_COLOUR.sub(b"", data)) if b"\x1b[" in data else data
