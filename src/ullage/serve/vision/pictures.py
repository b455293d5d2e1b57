"""Data URLs to the bytes of a file. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from ullage.errors import InvalidRequest
from ullage.serve.vision.schema import ImageInput

HEAD = re.compile(r"data:(?P<kind>[\w.+-]+/[\w.+-]+)?(?P<parameters>(;[\w.+-]+=[\w.+-]*)*)(?P<base64>;base64)?,", re.I)
LONGEST_HEAD = 200
KINDS = ("image", "img")
"""The vendor's own documents also write `data:img/png`. What a picture is, is told by its bytes and not by this."""


def files_of(inputs: Sequence[ImageInput]) -> list[bytes]:
    """The bytes of each picture. Raises InvalidRequest that names the first one at fault."""
    return [_file_of(given.url, place) for place, given in enumerate(inputs)]


def _file_of(url: str, place: int) -> bytes:
    where = f"input.{place}.url"
    found = HEAD.match(url[:LONGEST_HEAD])
    if found is None:
        raise InvalidRequest(f"{where}: {_shown(url)} is no data URL: write data:image/png;base64, and the picture")
    if not found["base64"]:
        raise InvalidRequest(f"{where}: a data URL without ;base64 is not read: send the picture in base64")
    if (found["kind"] or "image").split("/")[0].lower() not in KINDS:
        raise InvalidRequest(f"{where}: {found['kind']} is no picture: send image/png or image/jpeg")
    return decoded(url[found.end() :], where)


def decoded(text: str, where: str) -> bytes:
    """Base64 to bytes; line breaks are allowed. Raises InvalidRequest."""
    try:
        data = base64.b64decode("".join(text.split()) if any(c in text for c in "\r\n \t") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{where}: the picture is not base64: {str(error)[:80]}") from None
    if not data:
        raise InvalidRequest(f"{where}: the picture is empty")
    return data


def _shown(url: str) -> str:
    """The beginning of what was sent, printable; asset ids and web addresses are told by it."""
    return repr(url[:40] + ("..." if len(url) > 40 else ""))
