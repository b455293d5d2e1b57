"""Pictures for tests of vision, drawn with Pillow's own font."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw

LINES = ("Ferry timetable and fares", "Tickets are sold in the hall.", "Bicycles travel free of charge.",
         "The northern pier opens at six.", "Dogs must be kept on a lead.", "Meals are served until nine.")
Cells = tuple[tuple[str, ...], ...]
CELLS: Cells = (("Port", "Adult", "Child"), ("Bergen", "12.50", "6.25"), ("Oslo", "18.00", "9.00"))


def page(width: int = 520, height: int = 360) -> Image.Image:
    """`LINES`, one below the other."""
    picture = Image.new("RGB", (width, height), "white")
    pencil = ImageDraw.Draw(picture)
    for number, line in enumerate(LINES):
        pencil.text((40, 30 + 50 * number), line, fill="black", font_size=26)
    return picture


def table(cells: Cells = CELLS, *, ruled: bool = True) -> Image.Image:
    picture = Image.new("RGB", (640, 40 + 50 * len(cells)), "white")
    draw_table(ImageDraw.Draw(picture), cells, 20, 20, ruled=ruled)
    return picture


def draw_table(pencil: ImageDraw.ImageDraw, cells: Cells, left: int, top: int, *, ruled: bool = True) -> None:
    """Rows of 50 pixels, columns of 200."""
    for row, texts in enumerate(cells):
        for column, text in enumerate(texts):
            pencil.text((left + 12 + 200 * column, top + 10 + 50 * row), text, fill="black", font_size=24)
    right, bottom = left + 200 * len(cells[0]), top + 50 * len(cells)
    if ruled:
        for row in range(len(cells) + 1):
            pencil.line((left, top + 50 * row, right, top + 50 * row), fill="black", width=2)
        for column in range(len(cells[0]) + 1):
            pencil.line((left + 200 * column, top, left + 200 * column, bottom), fill="black", width=2)


def chart() -> Image.Image:
    """Four bars with a title, months below, numbers at the left and a title of the axis."""
    picture = Image.new("RGB", (640, 440), "white")
    pencil = ImageDraw.Draw(picture)
    pencil.text((220, 12), "Passengers 2024", fill="black", font_size=26)
    pencil.line((90, 60, 90, 360), fill="black", width=2)
    pencil.line((90, 360, 600, 360), fill="black", width=2)
    for number, month in enumerate(("Jan", "Feb", "Mar", "Apr")):
        pencil.rectangle((130 + 120 * number, 320 - 60 * number, 190 + 120 * number, 359), fill="steelblue")
        pencil.text((138 + 120 * number, 368), month, fill="black", font_size=20)
    for number in range(4):
        pencil.text((40, 350 - 90 * number), str(100 * number + 100), fill="black", font_size=20)
    pencil.text((320, 402), "Month", fill="black", font_size=20)
    return picture


def saved(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    kept = io.BytesIO()
    picture.save(kept, kind, **options)
    return kept.getvalue()


def pixels(picture: Image.Image) -> np.ndarray:
    """As the engine has them: blue, green, red."""
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def infer(*pictures: bytes, **more: object) -> dict[str, object]:
    """The body of a request."""
    return {"input": [{"type": "image_url", "url": data_url(data)} for data in pictures], **more}


def bomb(width: int, height: int, rows: int | None = None) -> bytes:
    """A PNG that says it is so large, and whose rows of zeros take next to no room in the file; `rows` are there."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packed = zlib.compressobj(9)
    body = b"".join(packed.compress(bytes(1 + width)) for _ in range(rows or height)) + packed.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
