"""Bytes of a picture to pixels, within bounds that are checked before anything is unpacked."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from ullage.errors import InvalidRequest, TooLarge

Pixels = npt.NDArray[np.uint8]
"""[height, width, 3], blue, green, red: the order in which the packaged models were trained."""

FORMATS = ("PNG", "JPEG")
LONGEST_SIDE = 20_000
"""Pixels. What is longer is no page; 32-bit offsets inside resizing code are not trusted beyond it either."""

LEAST_SIDE = 4
PIECE_ROWS = 64


def decode(data: bytes, *, max_pixels: int) -> Pixels:
    """A PNG or JPEG as pixels; transparent parts are white.

    Raises InvalidRequest for bytes that are no such picture, or are cut short, and TooLarge for one of more than
    `max_pixels` or with a side over `LONGEST_SIDE`: its size is read from its head, so nothing was unpacked for it.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of oddities in a file: what cannot be read is raised
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                _check_size(opened.size, max_pixels)
                return _flattened(opened)
    except Image.DecompressionBombError:  # the library's own limit, above any of ours
        raise TooLarge(f"a picture of {len(data)} bytes is over {max_pixels} pixels in all (vision_max_pixels): "
                       "send it smaller") from None
    except UnidentifiedImageError:
        raise InvalidRequest(f"{len(data)} bytes are no PNG or JPEG ({_looks_like(data)}): send one of these") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise InvalidRequest(f"the picture of {len(data)} bytes cannot be read to its end: {_said(error)}") from None


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels or max(size) > LONGEST_SIDE:
        raise TooLarge(f"a picture of {width} x {height} pixels is over {max_pixels} pixels in all (vision_max_pixels) "
                       f"or over {LONGEST_SIDE} on a side: send it smaller")
    if min(size) < LEAST_SIDE:
        raise InvalidRequest(f"a picture of {width} x {height} pixels shows nothing: send {LEAST_SIDE} at least")


def _flattened(opened: Image.Image) -> Pixels:
    """Three channels of eight bits on white. Never holds more than eight bytes a pixel."""
    if opened.mode in ("I", "I;16", "I;16B", "F"):  # sixteen bits grey: convert() would cut and not scale
        opened = Image.fromarray((np.asarray(opened, np.uint16) >> 8).astype(np.uint8))
    if "A" in opened.getbands() or "transparency" in opened.info:
        values = np.asarray(opened if opened.mode == "RGBA" else opened.convert("RGBA"))
        opened.close()
        return _on_white(values)
    values = np.array(opened if opened.mode == "RGB" else opened.convert("RGB"))
    opened.close()
    for rows in _pieces(len(values)):
        values[rows] = values[rows, :, ::-1].copy()
    return values


def _on_white(values: npt.NDArray[np.uint8]) -> Pixels:
    """Red, green, blue and opacity, laid on white."""
    found = np.empty((*values.shape[:2], 3), np.uint8)
    for rows in _pieces(len(values)):
        opacity = values[rows, :, 3:].astype(np.uint16)
        found[rows] = (values[rows, :, 2::-1] * opacity + 255 * (255 - opacity)) // 255
    return found


def _pieces(rows: int) -> Iterator[slice]:
    return (slice(start, start + PIECE_ROWS) for start in range(0, rows, PIECE_ROWS))


def _looks_like(data: bytes) -> str:
    heads = {b"%PDF": "a PDF", b"GIF8": "a GIF", b"II*\0": "a TIFF", b"MM\0*": "a TIFF", b"BM": "a BMP", b"PK": "a ZIP",
             b"<": "markup", b"\x1f\x8b": "gzip"}
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "a WebP"
    return next((name for head, name in heads.items() if data.startswith(head)), "of no format we know")


def _said(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
