"""A support archive: the report, the machine, and the files that were looked at, everything redacted line by line."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ullage.doctor import reading
from ullage.doctor.finding import Diagnosis
from ullage.doctor.redact import redacted, redacted_lines
from ullage.doctor.report import as_json, as_markdown
from ullage.doctor.text import Language
from ullage.errors import InvalidRequest

MOST_FILE_BYTES = 4 << 20
"""Of a longer file the first and the last half of this are taken."""

LONGEST_LINE = 4000


def write_bundle(target: Path, diagnosis: Diagnosis, language: Language, files: Sequence[Path],
                 facts: dict[str, Any]) -> list[str]:
    """Write `target` (.tar.gz); the names of what is in it. Raises InvalidRequest when it exists or cannot be written.

    `facts` go in as JSON. File contents pass the same redaction as reports.
    """
    parts: list[tuple[str, str]] = [
        ("report.md", as_markdown(diagnosis, language)),
        ("report.json", redacted(json.dumps(as_json(diagnosis), ensure_ascii=False, indent=2))),
        ("machine.json", redacted(json.dumps(facts, ensure_ascii=False, indent=2, default=str))),
    ]
    for number, path in enumerate(files, 1):
        parts.append((f"files/{number:02d}-{redacted(path.name).replace('/', '_')}", "\n".join(_lines(path)) + "\n"))
    try:
        with target.open("xb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, text in parts:
                data = text.encode("utf-8", errors="replace")
                entry = tarfile.TarInfo(f"ullage-doctor/{name}")
                entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(data))
    except FileExistsError:
        raise InvalidRequest(f"{target} is there already: name another file with --out") from None
    except OSError as error:
        raise InvalidRequest(f"{target} cannot be written: {error.strerror}") from None
    return [name for name, _ in parts]


def _lines(path: Path) -> Iterator[str]:
    """The file's lines, redacted; the middle of a long file is left out, and said so."""
    with reading.open_file(path) as stream:
        size = stream.seek(0, 2)
        stream.seek(0)
        start = stream.read(MOST_FILE_BYTES if size <= MOST_FILE_BYTES else MOST_FILE_BYTES // 2)
        yield from redacted_lines([line[:LONGEST_LINE] for line in reading.text_of(start).splitlines()])
        if size > MOST_FILE_BYTES:
            left = size - MOST_FILE_BYTES // 2
            stream.seek(left)
            yield f"... {left - len(start)} bytes left out ..."
            # The first line of the rest is cut, and a secret that is cut may not be known as one.
            rest = reading.text_of(stream.read()).splitlines()[1:]
            yield from redacted_lines([line[:LONGEST_LINE] for line in rest])
