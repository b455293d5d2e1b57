"""Read one file over HTTP into a part file, going on where a cut connection stopped. Bounded by the promised size."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ullage.errors import ModelCorrupt

if TYPE_CHECKING:
    import httpx

Progress = Callable[[str, int, int], None]
"""Called with (file name, bytes done, bytes in all)."""

IDLE_ATTEMPTS = 5
"""Attempts that bring no new byte, one after another, before we give up."""

PAUSE_S = 1.0
"""Before the second attempt; twice as long before each further one."""

RETRIED = (408, 429, 500, 502, 503, 504)


def fetch_file(
    client: httpx.Client, url: str, part: Path, size: int, refuse: Callable[[httpx.Response], None],
    progress: Callable[[int], None] | None = None,
) -> None:
    """Bring `part` to `size` bytes, from what it has. `refuse` raises for an answer that no retry makes better.

    Raises ModelCorrupt for more bytes than promised, httpx.HTTPError when the server stays away, OSError from the disk.
    """
    import httpx

    if part.is_file() and part.stat().st_size > size:
        part.unlink()
    idle = 0
    while (had := part.stat().st_size if part.is_file() else 0) < size or not part.is_file():
        try:
            _once(client, url, part, had, size, refuse, progress)
        except (httpx.TransportError, _Again) as error:
            idle = 0 if part.is_file() and part.stat().st_size > had else idle + 1
            if idle >= IDLE_ATTEMPTS:
                raise httpx.TransportError(f"{part.name.removesuffix('.part')} stops at byte {had} of {size}, "
                                           f"{IDLE_ATTEMPTS} times in a row ({_said(error)})") from None
            time.sleep(PAUSE_S * 2**idle)


class _Again(Exception):
    """An answer after which the same request may succeed."""


def _once(
    client: httpx.Client, url: str, part: Path, had: int, size: int, refuse: Callable[[httpx.Response], None],
    progress: Callable[[int], None] | None,
) -> None:
    asked = {"range": f"bytes={had}-"} if had else {}
    with client.stream("GET", url, headers=asked) as response:
        code = response.status_code
        if code in RETRIED:
            raise _Again(f"HTTP {code}")
        if code == 416:
            part.unlink()
            raise _Again("HTTP 416")
        if code != 206:
            refuse(response)
            had = 0  # the server sends the file from its start, whatever was asked
        elif _starts_at(response) != had:
            raise _Again(f"content-range {response.headers.get('content-range')!r} for bytes from {had}")
        with part.open("ab" if had else "wb") as out:
            for chunk in response.iter_raw():  # as they come: a gathered chunk would be lost with the connection
                if had + len(chunk) > size:
                    part.unlink()
                    raise ModelCorrupt(f"{url} sends more than the {size} bytes that the hub lists")
                out.write(chunk)
                had += len(chunk)
                if progress is not None:
                    progress(had)
    if had < size:
        raise _Again("connection closed early")


def _starts_at(response: httpx.Response) -> int:
    """The first byte of a partial answer; -1 when it does not say."""
    first = response.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
