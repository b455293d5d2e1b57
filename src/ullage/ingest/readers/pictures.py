"""Pictures: files of their own and those inside documents, brought to a size that can be looked at."""

from __future__ import annotations

import base64
import binascii
import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError

from ullage.errors import DocumentRefused, NotFound
from ullage.ingest.document import Page, Picture, Rendering
from ullage.ingest.readers.source import Source

MOST_SIDE = 20_000
MOST_PIXELS = 40_000_000
LOOK_SIDE = 3508
"""Longest side in pixels of what a vision service is shown: A4 at 300 dpi."""

LEAST_SIDE = 48
"""Below this a picture in a document is an icon or a rule."""

BARE_SIDE, BARE_SHADES = 256, 24
"""A picture whose shades, of 256, differ by less when it is made as small as that shows nothing but its grain."""

MOST_FRAMES = 1000
MOST_INSIDE = 300
"""Pictures of one document that are looked at."""

POINTS_PER_INCH = 72
DPI_WHEN_UNKNOWN = 96
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")

Image.MAX_IMAGE_PIXELS = None  # ours is checked by the header, before a pixel is decoded


def read_picture(source: Source) -> Iterator[Page]:
    """Each frame of a TIFF is a page; of a GIF only the first. Without a vision service a picture is refused."""
    if not source.wish.look:
        raise DocumentRefused(f"{source.name}: is a picture, and no vision service is set that could read its text; "
                              "set vision_url, or give a file with text")
    with source.open() as stream, _opened(stream, source.name) as image:
        frames = min(getattr(image, "n_frames", 1), MOST_FRAMES) if image.format == "TIFF" else 1
        source.total = frames
        if getattr(image, "n_frames", 1) > MOST_FRAMES and image.format == "TIFF":
            raise DocumentRefused(f"{source.name}: has more than {MOST_FRAMES} frames; split it")
        for number, frame in enumerate(ImageSequence.Iterator(image), start=1):
            if number > frames:
                return
            _check_size(frame, source.name)
            points = _points(frame)
            shown = _upright(frame, source.name)
            width, height = _as_shown(points, shown)
            picture = Picture(png_of(shown), box=(0, 0, width, height), whole=True, bare=is_bare(shown))
            yield Page(number, (), width, height, (picture,), thumbnail(shown, source.wish.thumbnail_pixels))


def render_picture(source: Source, number: int, pixels: int) -> Rendering:
    """A frame as `read_picture` shows it, its longer side of at most `pixels`. Raises DocumentRefused, NotFound."""
    with source.open() as stream, _opened(stream, source.name) as image:
        check_number(source.name, number, getattr(image, "n_frames", 1) if image.format == "TIFF" else 1)
        image.seek(number - 1)
        _check_size(image, source.name)
        points = _points(image)
        shown = _upright(image, source.name)
    width, height = _as_shown(points, shown)
    shown.thumbnail((pixels, pixels))
    return Rendering(png_of(shown), width, height)


def check_number(name: str, number: int, pages: int) -> None:
    if not 1 <= number <= pages:
        raise NotFound(f"{name}: has no page {number}: it has {pages}")


def picture_inside(content: bytes, source: Source, path: tuple[str, ...]) -> Picture | None:
    """A picture in a document; None when nobody would look at it, it is tiny, or it is broken or of another kind."""
    if not source.wish.look or not content:
        return None
    try:
        with _opened(io.BytesIO(content), source.name) as image:
            if min(image.size) < LEAST_SIDE:
                return None
            return Picture(png_of(_upright(image, source.name)), path=path)
    except DocumentRefused as refusal:
        line = f"{source.name}: a picture in it cannot be read ({refusal.message.partition(': ')[2]})"
        if line not in source.warnings:
            source.warnings.append(line)
        return None


def inline_picture(address: str, source: Source, path: tuple[str, ...]) -> Picture | None:
    """A picture that an HTML page carries inside itself (`data:`); nothing is ever fetched."""
    head, comma, data = address.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        return None
    try:
        return picture_inside(base64.b64decode(data, validate=False), source, path)
    except (binascii.Error, ValueError):
        return None


def thumbnail(image: Image.Image, pixels: int) -> bytes:
    """A JPEG whose longer side has `pixels`; nothing for 0."""
    if not pixels:
        return b""
    small = image.convert("RGB")
    small.thumbnail((pixels, pixels))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=70)
    return stream.getvalue()


@contextmanager
def _opened(stream: IO[bytes], name: str) -> Iterator[Image.Image]:
    """Checked by its header before a pixel is decoded. Raises DocumentRefused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(stream, formats=FORMATS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError):
        raise DocumentRefused(f"{name}: is a broken or cut off picture; save it again") from None
    with image:
        _check_size(image, name)
        yield image


def _check_size(image: Image.Image, name: str) -> None:
    width, height = image.size
    if max(width, height) > MOST_SIDE or width * height > MOST_PIXELS:
        raise DocumentRefused(f"{name}: has {width} x {height} pixels, {MOST_SIDE} a side and {MOST_PIXELS} in all at "
                              "most; make it smaller")


def _upright(image: Image.Image, name: str) -> Image.Image:
    """Decoded, turned as its camera says, no larger than is looked at, in grey or RGB on white. At most one copy of the
    whole picture is in memory."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.format == "JPEG":
                image.draft("RGB", (LOOK_SIDE, LOOK_SIDE))
            image.load()
            frame = image if getattr(image, "n_frames", 1) == 1 else image.copy()
            ImageOps.exif_transpose(frame, in_place=True)
            return _on_white(frame)
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, ZeroDivisionError,
            AttributeError, struct.error):
        raise DocumentRefused(f"{name}: is a broken or cut off picture; save it again") from None


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("1", "I", "I;16", "F"):
        image = image.convert("L")
    elif image.mode in ("PA", "LA") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    elif image.mode not in ("L", "RGB", "RGBA"):
        image = image.convert("RGB")
    image.thumbnail((LOOK_SIDE, LOOK_SIDE))
    if image.mode == "RGBA":
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image


def png_of(image: Image.Image) -> bytes:
    """As PNG, made smaller where a side is longer than a vision service is shown."""
    if max(image.size) > LOOK_SIDE:
        image = image.copy()
        image.thumbnail((LOOK_SIDE, LOOK_SIDE))
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def is_bare(image: Image.Image) -> bool:
    """Whether it is of one shade all over, but for grain."""
    lightness = image.convert("L")
    lightness.thumbnail((BARE_SIDE, BARE_SIDE))
    darkest, lightest = cast("tuple[int, int]", lightness.getextrema())
    return lightest - darkest < BARE_SHADES


def _points(image: Image.Image) -> tuple[float, float]:
    said = image.info.get("dpi", (DPI_WHEN_UNKNOWN, DPI_WHEN_UNKNOWN))
    across, down = (float(dpi) if 20 <= float(dpi) <= 2400 else DPI_WHEN_UNKNOWN for dpi in said)
    return image.width * POINTS_PER_INCH / across, image.height * POINTS_PER_INCH / down


def _as_shown(points: tuple[float, float], shown: Image.Image) -> tuple[float, float]:
    """Sides as they are once a camera's turn has been undone."""
    return points[::-1] if (points[0] - points[1]) * (shown.width - shown.height) < 0 else points
