"""ZIP containers (Office, EPUB): what one would unpack to is known and bounded before any of it is unpacked."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from ullage.errors import DocumentRefused
from ullage.ingest.readers.source import Source

MOST_ENTRIES = 10_000
MOST_UNPACKED_BYTES = 512 << 20
MOST_RATIO = 150
"""Office files unpack to 5 to 30 times their size; what is small anyway may be packed as tightly as it likes."""

SMALL_BYTES = 32 << 20
MOST_PART_BYTES = 128 << 20
_ENTITY = re.compile(rb"<!ENTITY", re.IGNORECASE)
_DOCTYPE_BYTES = 4096
_ENCRYPTED = 0x1


@contextmanager
def archive(source: Source) -> Iterator[zipfile.ZipFile]:
    """The container, checked. Raises DocumentRefused for a broken, encrypted or exploding one.

    A part never gives more bytes than it declares (zipfile stops there), so the declared sizes bound the work.
    """
    with source.open() as stream:
        try:
            opened = zipfile.ZipFile(stream)
        except (zipfile.BadZipFile, OSError, ValueError, EOFError):
            raise DocumentRefused(f"{source.name}: is a broken or cut off ZIP container; save it again") from None
        with opened:
            _check(opened, source)
            yield opened


def _check(opened: zipfile.ZipFile, source: Source) -> None:
    entries = opened.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    packed = max(1, source.size_bytes())
    if len(entries) > MOST_ENTRIES:
        raise DocumentRefused(f"{source.name}: holds {len(entries)} parts, {MOST_ENTRIES} at most; it is no document")
    if any(entry.flag_bits & _ENCRYPTED for entry in entries):
        raise DocumentRefused(f"{source.name}: is encrypted; remove the password and upload it again")
    if unpacked > MOST_UNPACKED_BYTES or (unpacked > SMALL_BYTES and unpacked > MOST_RATIO * packed):
        raise DocumentRefused(f"{source.name}: unpacks from {packed} to {unpacked} bytes, {MOST_UNPACKED_BYTES} and "
                              f"{MOST_RATIO} times at most (a ZIP bomb?); split it")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise DocumentRefused(f"{source.name}: holds two parts of one name; save it again")


def check_xml(opened: zipfile.ZipFile, source: Source, *, doctypes: bool = False) -> None:
    """No XML part may define entities, nor (unless `doctypes`) name a document type, which Office files never do."""
    for entry in opened.infolist():
        if not entry.filename.lower().endswith((".xml", ".rels", ".opf", ".ncx", ".xhtml", ".html", ".htm", ".svg")):
            continue
        with opened.open(entry) as stream:
            try:
                head = stream.read(_DOCTYPE_BYTES)
            except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError):
                raise DocumentRefused(f"{source.name}: its part {entry.filename[:80]!r} is broken; save it again"
                                      ) from None
        head = head.replace(b"\0", b"")
        if _ENTITY.search(head) or (not doctypes and b"<!DOCTYPE" in head.upper()):
            raise DocumentRefused(f"{source.name}: its part {entry.filename[:80]!r} defines XML entities or a document "
                                  "type, which no such file needs; save it again from an office program")


def part(opened: zipfile.ZipFile, source: Source, name: str) -> bytes:
    """The bytes of one part. Raises DocumentRefused for a missing, broken or huge one."""
    try:
        entry = opened.getinfo(name)
        if entry.file_size > MOST_PART_BYTES:
            raise DocumentRefused(f"{source.name}: its part {name[:80]!r} has {entry.file_size} bytes, "
                                  f"{MOST_PART_BYTES} at most; split the document")
        return opened.read(entry)
    except KeyError:
        raise DocumentRefused(f"{source.name}: lacks its part {name[:80]!r}; save it again") from None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        raise DocumentRefused(f"{source.name}: its part {name[:80]!r} is broken; save it again") from None
