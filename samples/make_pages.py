"""Make the page test set: 70 PDF files of one page each, and what stands on them.

Run it from the repository root; it takes about a minute and needs
``pip install reportlab pypdfium2 pillow numpy matplotlib``:

    python samples/make_pages.py --out /tmp/pages

The same library versions write the same pages. Nothing of it is committed:
the pages are 15 MB, and this file is the test set. Everything in it is made up.
``--seed 1`` makes pages that no reader was tried on while it was written.

* ``ruled-NN.pdf`` (15) and ``unruled-NN.pdf`` (15): a table with its caption
  between paragraphs; grids, boxes, lines under the head only, zebra stripes,
  no line at all; wrapped cells, empty cells, numbers set to the right.
* ``columns-NN.pdf`` (10): two columns, with a title across both and sometimes
  a table across both in the middle; every other page is drawn line by line
  across the columns, as some programs do.
* ``chart-NN.pdf`` (10): bars, lines and a pie; half as drawings, half as pictures.
* ``scan-NN.pdf`` (20): pictures of pages, ten at 150 dpi and ten at 300 dpi,
  with noise and a skew of up to 2 degrees either way.

Half of the pages are German. ``truth.json`` is a list of objects: ``file``,
``kind``, ``language``, ``paragraphs`` (in reading order), ``tables`` (lists of
rows, the head first), ``chart`` (texts), ``dpi``.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import argparse
import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
from PIL import Image, ImageFilter
from reportlab import rl_config
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from page_charts import chart_page
from page_sheet import FONTS, GUTTER, MARGIN, RULED, UNRULED, WIDTH, Sheet, Truth, numbers_right, wrapped
from page_words import HEADS, WORDS, Writer


def table_page(number: int, ruled: bool) -> tuple[Truth, bytes]:
    language = "de" if number % 2 else "en"
    writer = Writer(1000 * ruled + number, language)
    kind = "ruled" if ruled else "unruled"
    truth = Truth(f"{kind}-{number:02d}.pdf", kind, language)
    sheet = Sheet(writer, truth, FONTS[number % 2])
    sheet.running(number)
    sheet.heading(writer.title())
    sheet.paragraph(writer.paragraph(3))
    cells = writer.table(writer.rng.randint(4, 14), writer.rng.randint(3, 6))
    sheet.caption(f"{WORDS[language]['table']} {number}: {writer.title()}")
    styles = RULED if ruled else UNRULED
    wrap = number % 5 == 4 and cells[0][-1] == HEADS[language][-1]
    sheet.table(cells, [*styles[number % len(styles)], *numbers_right(cells)], wide=number % 3 == 0, wrap=wrap)
    sheet.paragraph(writer.paragraph(4))
    if number % 4 == 0:
        second = writer.table(writer.rng.randint(3, 6), writer.rng.randint(3, 4))
        sheet.caption(f"{WORDS[language]['table']} {number + 20}: {writer.title()}")
        sheet.table(second, [*styles[(number + 1) % len(styles)], *numbers_right(second)], wide=False, wrap=False)
        sheet.paragraph(writer.paragraph(2))
    return truth, sheet.bytes()


def column_page(number: int) -> tuple[Truth, bytes]:
    language = "de" if number % 2 else "en"
    writer = Writer(3000 + number, language)
    truth = Truth(f"columns-{number:02d}.pdf", "columns", language)
    sheet = Sheet(writer, truth, FONTS[number % 2], 9.5)
    sheet.running(number)
    sheet.heading(writer.title())
    if number % 3 == 2:
        two_columns(sheet, 5, across=number % 2 == 1)
        sheet.caption(f"{WORDS[language]['table']} {number}: {writer.title()}")
        cells = writer.table(4, 5)
        sheet.table(cells, [*RULED[0], *numbers_right(cells)], wide=True, wrap=False)
        two_columns(sheet, 4, across=number % 2 == 1)
    else:
        two_columns(sheet, 9, across=number % 2 == 1)
    return truth, sheet.bytes()


def two_columns(sheet: Sheet, paragraphs: int, *, across: bool) -> None:
    """Paragraphs down the left column, then down the right one; `across`: drawn line by line over both."""
    width = (WIDTH - GUTTER) / 2
    step = 1.25 * sheet.size
    texts = [sheet.writer.paragraph(sheet.writer.rng.randint(2, 4)) for _ in range(paragraphs)]
    sheet.truth.paragraphs += texts
    lines: list[str] = []
    for text in texts:
        lines += [*wrapped(text, sheet.body, sheet.size, width), ""]
    half = (len(lines) + 1) // 2
    places = [(n, side, line) for side, column in enumerate((lines[:half], lines[half:]))
              for n, line in enumerate(column)]
    for n, side, line in sorted(places) if across else places:
        sheet.canvas.setFont(sheet.body, sheet.size)
        sheet.canvas.drawString(MARGIN + side * (width + GUTTER), sheet.top - n * step, line)
    sheet.top -= half * step + sheet.size


def scan_page(number: int) -> tuple[Truth, bytes]:
    language = "de" if number % 2 else "en"
    dpi = 150 if number < 10 else 300
    writer = Writer(7000 + number, language)
    truth = Truth(f"scan-{number:02d}.pdf", "scan", language, dpi=dpi)
    sheet = Sheet(writer, truth, FONTS[number % 2], 11)
    sheet.heading(writer.title())
    for _ in range(5):
        sheet.paragraph(writer.paragraph(writer.rng.randint(2, 4)))
    if number % 5 == 3:
        cells = writer.table(6, 4)
        sheet.caption(f"{WORDS[language]['table']} {number}: {writer.title()}")
        sheet.table(cells, [*RULED[0], *numbers_right(cells)], wide=True, wrap=False)
    return truth, scanned(sheet.bytes(), dpi, number)


def scanned(page: bytes, dpi: int, seed: int) -> bytes:
    """A picture of the page as an old scanner gives it: turned by up to 2 degrees, blurred, shaded, speckled."""
    rng = np.random.default_rng(seed)
    image = pdfium.PdfDocument(page)[0].render(scale=dpi / 72, grayscale=True).to_pil().convert("L")
    angle = (1.0 if seed % 2 else 2.0) * (1 if seed % 4 < 2 else -1)
    turned = image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=255)
    grey = np.asarray(turned.filter(ImageFilter.GaussianBlur(dpi / 400)), dtype=np.float32)
    height, width = grey.shape
    grey = 25 + grey * (215 / 255) - np.linspace(0, 18, width, dtype=np.float32)[None, :]
    grey = grey + rng.normal(0, 6, grey.shape).astype(np.float32)
    for _ in range(width * height // 9000):
        y, x, size = int(rng.integers(0, height - 3)), int(rng.integers(0, width - 3)), int(rng.integers(1, 3))
        grey[y : y + size, x : x + size] = float(rng.choice([70, 120, 250]))
    shown = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8), "L")
    jpeg = io.BytesIO()
    shown.save(jpeg, "JPEG", quality=60)
    stream = io.BytesIO()
    canvas = Canvas(stream, pagesize=A4, invariant=1)
    canvas.drawImage(ImageReader(jpeg), 0, 0, *A4)
    canvas.showPage()
    canvas.save()
    return stream.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the page test set.")
    parser.add_argument("--out", type=Path, required=True, help="folder that gets the pages and truth.json")
    parser.add_argument("--kinds", default="ruled,unruled,columns,chart,scan", help="which of them, with commas")
    parser.add_argument("--seed", type=int, default=0, help="another number makes another set of the same kinds")
    chosen = parser.parse_args()
    Writer.first_seed = 100_000 * chosen.seed
    folder: Path = chosen.out
    folder.mkdir(parents=True, exist_ok=True)
    rl_config.invariant = 1
    makers = {
        "ruled": [lambda n=n: table_page(n, True) for n in range(15)],
        "unruled": [lambda n=n: table_page(n, False) for n in range(15)],
        "columns": [lambda n=n: column_page(n) for n in range(10)],
        "chart": [lambda n=n: chart_page(n) for n in range(10)],
        "scan": [lambda n=n: scan_page(n) for n in range(20)],
    }
    truths = []
    for kind in chosen.kinds.split(","):
        for make in makers[kind]:
            truth, content = make()
            (folder / truth.file).write_bytes(content)
            truths.append(asdict(truth))
    (folder / "truth.json").write_text(json.dumps(truths, ensure_ascii=False, indent=1), encoding="utf-8")
    total = sum(path.stat().st_size for path in folder.glob("*.pdf"))
    print(f"{len(truths)} pages, {total:,} bytes in {folder}")


if __name__ == "__main__":
    main()
