"""Pages of known truth that mix titles, paragraphs, tables, charts and running heads, for the page-elements service."""

from __future__ import annotations

import random
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ullage.bench.vision_charts import chart
from ullage.bench.vision_pages import ENGLISH, GERMAN, POINTS, filled, font, table
from ullage.engines.vision.image import Pixels
from ullage.engines.vision.shapes import Box, Region, around


@dataclass(frozen=True, slots=True)
class MixedPage:
    image: Pixels
    regions: tuple[Region, ...]


def mixed_page(seed: int, *, dpi: int = 150) -> MixedPage:
    """A page of one column: a running head and foot, a title, then paragraphs, a table and a chart in some order."""
    chance = random.Random(seed)  # noqa: S311 - a page, not a secret
    scale = dpi / 72
    page = Image.new("RGB", (round(POINTS[0] * scale), round(POINTS[1] * scale)), "white")
    pencil = ImageDraw.Draw(page)
    regions: list[Region] = []

    def write(label: str, left: float, top: float, lines: list[str], face: str, points: float) -> float:
        used = font(face, points * scale)
        boxes = []
        for number, line in enumerate(lines):
            at = (left * scale, (top + number * 1.4 * points) * scale)
            pencil.text(at, line, font=used, fill="black")
            boxes.append(pencil.textbbox(at, line, font=used))
        regions.append(Region(label, around([Box(*box) for box in boxes]), 1.0))
        return top + len(lines) * 1.4 * points

    write("header_footer", 60, 24, ["Harbour authority: annual report"], "DejaVuSans", 8)
    write("header_footer", 290, 808, [str(seed + 1)], "DejaVuSans", 8)
    y = write("title", 60, 60, ["2 Traffic and revenue of the year"], "DejaVuSans-Bold", 17) + 14
    body = chance.choice(("DejaVuSans", "DejaVuSerif"))
    words = chance.choice((ENGLISH, GERMAN))
    parts = ["text", "table", "text", "chart", "text"] if seed % 2 else ["text", "chart", "text", "table"]
    for part in parts:
        if part == "text":
            face = font(body, 10 * scale)
            lines = [filled(pencil, face, words, 475 * scale, chance) for _ in range(chance.randint(3, 6))]
            y = write("paragraph", 60, y, lines, body, 10) + 16
        else:
            drawn = table(seed, ruled=seed % 4 < 2, dpi=dpi).image if part == "table" else chart(seed, dpi=100).image
            regions.append(Region(part, _paste(page, drawn, 60 * scale, y * scale, 400 * scale, 210 * scale), 1.0))
            y += 210 + 16
    return MixedPage(np.ascontiguousarray(np.asarray(page, np.uint8)[:, :, ::-1]), tuple(regions))


def _paste(page: Image.Image, picture: Pixels, x: float, y: float, width: float, height: float) -> Box:
    factor = min(width / picture.shape[1], height / picture.shape[0])
    size = round(picture.shape[1] * factor), round(picture.shape[0] * factor)
    drawn = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    page.paste(Image.fromarray(np.ascontiguousarray(drawn[:, :, ::-1])), (round(x), round(y)))
    return Box(round(x), round(y), round(x) + size[0], round(y) + size[1])
