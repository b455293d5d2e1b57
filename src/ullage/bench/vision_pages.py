"""Pages, tables and charts of known truth, drawn with the fonts that come with matplotlib (a package of `dev`)."""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ullage.engines.vision.image import Pixels
from ullage.engines.vision.shapes import Box

POINTS = (595, 842)
"""A4."""

ENGLISH = (
    "the harbour authority decided that every ferry leaving the northern pier must carry its logbook and report wind "
    "speed over the radio before noon while traffic fell by 12.5% in March and the budget of 2,450 EUR rose again"
).split()
GERMAN = (
    "die Hafenbehörde prüft täglich Gebühren für größere Schiffe und veröffentlicht Änderungen rechtzeitig im "
    "Amtsblatt wobei übermäßige Verspätungen nach § 7 Abs. 2 mit höchstens 1.200 € Bußgeld geahndet werden können"
).split()
THINGS = ("Electricity", "Harbour dues", "Wages", "Repairs", "Fuel oil", "Insurance", "Training", "Rent", "Mooring",
          "Pilotage", "Übersetzung", "Kräne", "Post", "Sundries")
HEADS = ("2021", "2022", "2023", "Change", "Share", "Budget", "Total", "Q1", "Q2")


@dataclass(frozen=True, slots=True)
class TextPage:
    """`lines` in reading order."""

    image: Pixels
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TablePicture:
    """`cells` are the texts by row and column; `boxes` the places of their texts."""

    image: Pixels
    cells: tuple[tuple[str, ...], ...]
    boxes: tuple[tuple[Box, ...], ...]


def font(name: str, size: float) -> ImageFont.FreeTypeFont:
    """`name` is a file of matplotlib's fonts, such as DejaVuSans-Bold."""
    import matplotlib as mpl

    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


def text_page(seed: int, *, dpi: int, columns: int = 1, points: float = 10) -> TextPage:
    """A page of paragraphs, English or German by the seed, in a sans or a serif face."""
    chance = random.Random(seed)  # noqa: S311 - a page, not a secret
    scale = dpi / 72
    page = Image.new("RGB", (round(POINTS[0] * scale), round(POINTS[1] * scale)), "white")
    pencil = ImageDraw.Draw(page)
    face = chance.choice(("DejaVuSans", "DejaVuSerif", "STIXGeneral"))
    words = chance.choice((ENGLISH, GERMAN))
    body = font(face, points * scale)
    lines = ["Annual report 2024 of the harbour"]
    pencil.text((60 * scale, 48 * scale), lines[0], font=font("DejaVuSans-Bold", 16 * scale), fill="black")
    width = (475 - 25 * (columns - 1)) / columns
    for column in range(columns):
        left, y = 60 + column * (width + 25), 90.0
        while y < 770:
            for _ in range(chance.randint(3, 7)):
                line = filled(pencil, body, words, width * scale, chance)
                pencil.text((left * scale, y * scale), line, font=body, fill="black")
                lines.append(line)
                y += 1.4 * points
            y += points
    return TextPage(_pixels(page), tuple(lines))


def filled(
    pencil: ImageDraw.ImageDraw, face: ImageFont.FreeTypeFont, words: list[str], width: float, chance: random.Random
) -> str:
    line = ""
    while pencil.textlength(longer := f"{line} {chance.choice(words)}".strip(), font=face) <= width:
        line = longer
    return line


def scanned(image: Pixels, seed: int, *, degrees: float = 2.0, noise: float = 18.0) -> Pixels:
    """As from a scanner: turned, blurred, with grain and specks."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    turned = cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_CUBIC, borderValue=(255, 255, 255))
    blurred = np.asarray(cv2.GaussianBlur(turned, (3, 3), 0.8), np.float32)
    dice = np.random.default_rng(seed)
    blurred += dice.normal(0, noise, (height, width, 1)).astype(np.float32)
    specks = dice.random((height, width))
    blurred[specks < 0.001], blurred[specks > 0.999] = 0, 255
    return np.asarray(blurred.clip(0, 255), np.uint8)


def table(seed: int, *, ruled: bool, dpi: int = 150) -> TablePicture:
    """A table of 4 to 9 rows and 3 to 6 columns, with rules around every cell or with none but under its head."""
    chance = random.Random(seed)  # noqa: S311 - a table, not a secret
    rows, columns = chance.randint(4, 9), chance.randint(3, 6)
    scale = dpi / 72
    face = chance.choice(("DejaVuSans", "DejaVuSerif", "STIXGeneral"))
    plain, bold = font(face, 9 * scale), font("DejaVuSans-Bold", 9 * scale)
    cells = [["Item", *chance.sample(HEADS, columns - 1)]]
    cells += [[chance.choice(THINGS), *(_figure(chance) for _ in range(columns - 1))] for _ in range(rows - 1)]
    pitch, first, other = 20 * scale, 110 * scale, 70 * scale
    width, height = first + other * (columns - 1) + 24 * scale, pitch * rows + 24 * scale
    page = Image.new("RGB", (round(width), round(height)), "white")
    pencil = ImageDraw.Draw(page)
    boxes = []
    edges = [12 * scale, *(12 * scale + first + other * number for number in range(columns))]
    for row, texts in enumerate(cells):
        line = []
        for column, text in enumerate(texts):
            used = bold if row == 0 else plain
            left, right = edges[column] + 4 * scale, edges[column + 1] - 4 * scale
            x = left if column == 0 else right - pencil.textlength(text, font=used)
            y = 12 * scale + pitch * row + 4 * scale
            pencil.text((x, y), text, font=used, fill="black")
            x0, y0, x1, y1 = pencil.textbbox((x, y), text, font=used)
            line.append(Box(x0, y0, x1, y1))
        boxes.append(tuple(line))
    _rules(pencil, edges, [12 * scale + pitch * row for row in range(rows + 1)], ruled, max(1, round(scale / 2)))
    return TablePicture(_pixels(page), tuple(map(tuple, cells)), tuple(boxes))


def _rules(pencil: ImageDraw.ImageDraw, across: list[float], down: list[float], ruled: bool, width: int) -> None:
    for y in down if ruled else down[1:2]:
        pencil.line((across[0], y, across[-1], y), fill="black", width=width)
    for x in across if ruled else []:
        pencil.line((x, down[0], x, down[-1]), fill="black", width=width)


def _figure(chance: random.Random) -> str:
    return chance.choice((f"{chance.randint(1, 99999):,}", f"{chance.uniform(-20, 20):.1f}%",
                          f"{chance.uniform(1, 900):.2f}"))


def _pixels(page: Image.Image) -> Pixels:
    return np.ascontiguousarray(np.asarray(page, np.uint8)[:, :, ::-1])


def png(image: Pixels) -> bytes:
    kept = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])).save(kept, "PNG")
    return kept.getvalue()
