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
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
import numpy as np
import pypdfium2 as pdfium
from PIL import Image, ImageFilter
from reportlab import rl_config
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, Table, TableStyle

matplotlib.use("Agg")
from matplotlib import pyplot as plt

MARGIN = 22 * mm
WIDTH = A4[0] - 2 * MARGIN
GUTTER = 8 * mm
FONTS = (("Helvetica", "Helvetica-Bold"), ("Times-Roman", "Times-Bold"))

WORDS = {
    "en": {
        "who": "The crew|The harbour master|Our workshop|The night shift|A certified inspector|The purchasing office|"
               "Every branch manager|The control room|The supplier|The safety officer",
        "does": "checks|records|replaces|orders|approves|measures|cleans|reports|compares|stores",
        "what": "the cooling pumps|all fire doors|the delivery notes|the spare filters|two control valves|"
                "the weekly readings|the mooring lines|the lubricating oil|the emergency lamps|the cabin heaters",
        "when": "before every departure|on the first Monday of a month|within 14 days|after 250 operating hours|"
                "as soon as the alarm sounds|once the form is signed|during the winter lay-up|at the end of each shift",
        "why": "because the insurer asks for it|so that faults are found early|unless the weather forbids it|"
               "which has saved 12 per cent of the cost|although the manual says otherwise|and keeps a copy on board",
        "page": "Page", "table": "Table", "figure": "Figure", "title": "Report on the|Notes on the|Plan for the",
    },
    "de": {
        "who": "Die Besatzung|Der Hafenmeister|Unsere Werkstatt|Die Nachtschicht|Ein geprüfter Gutachter|"
               "Die Einkaufsabteilung|Jede Filialleiterin|Die Leitwarte|Der Lieferant|Die Sicherheitsbeauftragte",
        "does": "prüft|erfasst|ersetzt|bestellt|genehmigt|misst|reinigt|meldet|vergleicht|lagert",
        "what": "die Kühlpumpen|alle Brandschutztüren|die Lieferscheine|die Ersatzfilter|zwei Regelventile|"
                "die wöchentlichen Messwerte|die Festmacherleinen|das Schmieröl|die Notleuchten|die Kabinenheizungen",
        "when": "vor jeder Abfahrt|am ersten Montag des Monats|innerhalb von 14 Tagen|nach 250 Betriebsstunden|"
                "sobald der Alarm ertönt|nach Unterschrift des Formulars|während der Winterliegezeit|"
                "am Ende jeder Schicht",
        "why": "weil der Versicherer es verlangt|damit Fehler früh auffallen|sofern das Wetter es zulässt|"
               "was 12 Prozent der Kosten spart|obwohl das Handbuch es anders sagt|und behält eine Kopie an Bord",
        "page": "Seite", "table": "Tabelle", "figure": "Abbildung", "title": "Bericht über|Hinweise für|Plan für",
    },
}
HEADS = {
    "en": ["Item", "Stock", "Unit price", "Supplier", "Checked", "Location", "Remarks"],
    "de": ["Artikel", "Bestand", "Stückpreis", "Lieferant", "Geprüft", "Lagerort", "Bemerkung"],
}
ITEMS = {
    "en": "Impeller|Shaft seal|Oil filter|Fan belt|Gate valve|Fuse 16 A|Gasket DN 50|Brake pad|Lamp E27|Hose clamp|"
          "Bearing 6204|Spark plug|Cable gland|Pressure gauge|Relay 24 V|Non-return valve",
    "de": "Laufrad|Wellendichtung|Ölfilter|Keilriemen|Absperrschieber|Sicherung 16 A|Flachdichtung DN 50|Bremsbelag|"
          "Lampe E27|Schlauchschelle|Kugellager 6204|Zündkerze|Kabelverschraubung|Manometer|Relais 24 V|"
          "Rückschlagklappe",
}
SUPPLIERS = "Norwin GmbH|Bright & Lowe|Hansen AS|Vessby|Okonjo Ltd|Brückner KG|Iverson|Tallmann"
PLACES = {"en": "Shelf A3|Bay 12|Yard|Cage 2|Locker 7", "de": "Regal A3|Halle 12|Hof|Käfig 2|Schrank 7"}
REMARKS = {
    "en": "order in time|out of production|only in pairs|keep dry and dark|see notice 14|",
    "de": "rechtzeitig bestellen|läuft aus|nur paarweise|trocken und dunkel lagern|siehe Merkblatt 14|",
}


@dataclass
class Truth:
    """What stands on one page."""

    file: str
    kind: str
    language: str
    paragraphs: list[str] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    chart: list[str] = field(default_factory=list)
    dpi: int = 0


class Writer:
    """Sentences and cells in one language from one seed."""

    first_seed = 0

    def __init__(self, seed: int, language: str) -> None:
        self.rng = random.Random(self.first_seed + seed)
        self.language = language

    def one(self, of: str) -> str:
        return self.rng.choice(of.split("|"))

    def sentence(self) -> str:
        words = WORDS[self.language]
        parts = [self.one(words[part]) for part in ("who", "does", "what", "when")]
        if self.rng.random() < 0.6:
            parts.append(self.one(words["why"]))
        # A number of its own, so that no two sentences of a page are alike.
        number = self.rng.randint(100, 9999)
        return f"{' '.join(parts)} ({'No.' if self.language == 'en' else 'Nr.'} {number})."

    def paragraph(self, sentences: int) -> str:
        return " ".join(self.sentence() for _ in range(sentences))

    def title(self) -> str:
        words = WORDS[self.language]
        return f"{self.one(words['title'])} {self.one(words['what']).removeprefix('the ')}"

    def amount(self) -> str:
        value = self.rng.uniform(1, 4000)
        shown = f"{value:,.2f}"
        return shown if self.language == "en" else shown.translate(str.maketrans(",.", ".,"))

    def table(self, rows: int, columns: int) -> list[list[str]]:
        names = self.rng.sample(ITEMS[self.language].split("|"), min(rows, 16))
        body = [self._row(name) for name in names]
        chosen = [0, *sorted(self.rng.sample(range(1, 7), columns - 1))]
        table = [HEADS[self.language], *body]
        return [[row[column] for column in chosen] for row in table]

    def _row(self, name: str) -> list[str]:
        yes = {"en": "yes|no", "de": "ja|nein"}[self.language]
        return [name, str(self.rng.randint(0, 950)), self.amount(), self.one(SUPPLIERS), self.one(yes),
                self.one(PLACES[self.language]), self.one(REMARKS[self.language])]


class Sheet:
    """A page that is filled from the top; what is drawn is noted in its truth."""

    def __init__(self, writer: Writer, truth: Truth, fonts: tuple[str, str], size: float = 10.5) -> None:
        self.writer, self.truth, self.size = writer, truth, size
        self.body, self.bold = fonts
        self.stream = io.BytesIO()
        self.canvas = Canvas(self.stream, pagesize=A4, invariant=1)
        self.top = A4[1] - 28 * mm

    def bytes(self) -> bytes:
        self.canvas.showPage()
        self.canvas.save()
        return self.stream.getvalue()

    def running(self, number: int) -> None:
        self.canvas.setFont("Helvetica", 8)
        self.canvas.drawString(MARGIN, A4[1] - 12 * mm, "Saltmarrow Island Ferries")
        self.canvas.drawRightString(A4[0] - MARGIN, 10 * mm, f"{WORDS[self.writer.language]['page']} {number}")

    def heading(self, text: str) -> None:
        self.canvas.setFont(self.bold, self.size + 5)
        self.canvas.drawString(MARGIN, self.top, text)
        self.truth.paragraphs.append(text)
        self.top -= 2.2 * self.size

    def paragraph(self, text: str, left: float = MARGIN, width: float = WIDTH) -> None:
        self.truth.paragraphs.append(text)
        for line in wrapped(text, self.body, self.size, width):
            self.canvas.setFont(self.body, self.size)
            self.canvas.drawString(left, self.top, line)
            self.top -= 1.25 * self.size
        self.top -= 0.8 * self.size

    def caption(self, text: str) -> None:
        self.canvas.setFont(self.bold, self.size - 1.5)
        self.canvas.drawString(MARGIN, self.top, text)
        self.truth.paragraphs.append(text)
        self.top -= 1.1 * self.size

    def table(self, cells: list[list[str]], style: list[tuple[Any, ...]], *, wide: bool, wrap: bool) -> None:
        self.truth.tables.append(cells)
        look = ParagraphStyle("cell", fontName=self.body, fontSize=9, leading=10.5)
        shown: list[list[Any]] = [list(row) for row in cells]
        widths: list[float] | None = None
        if wrap:
            last = len(cells[0]) - 1
            for row in shown[1:]:
                row[last] = Paragraph(escape(str(row[last])), look)
            widths = [max(stringWidth(row[n], self.bold, 9) for row in cells) + 12 for n in range(last)]
            widths.append(62.0)
        elif wide:
            widths = [WIDTH / len(cells[0])] * len(cells[0])
        drawn = Table(shown, colWidths=widths, hAlign="LEFT")
        drawn.setStyle(TableStyle([("FONT", (0, 0), (-1, -1), self.body, 9), ("FONT", (0, 0), (-1, 0), self.bold, 9),
                                   ("TOPPADDING", (0, 0), (-1, -1), 2), ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
                                   ("VALIGN", (0, 0), (-1, -1), "TOP"), *style]))
        _, height = drawn.wrapOn(self.canvas, WIDTH, 700)
        drawn.drawOn(self.canvas, MARGIN, self.top - height + 0.5 * self.size)
        self.top -= height + 1.2 * self.size


def wrapped(text: str, font: str, size: float, width: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if stringWidth(longer, font, size) > width and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def numbers_right(cells: Sequence[Sequence[str]]) -> list[tuple[Any, ...]]:
    columns = [n for n in range(len(cells[0])) if all(row[n].translate(str.maketrans("", "", "., ")).isdigit()
                                                     for row in cells[1:])]
    return [("ALIGN", (n, 0), (n, -1), "RIGHT") for n in columns]


RULED = (
    [("GRID", (0, 0), (-1, -1), 0.5, colors.black)],
    [("INNERGRID", (0, 0), (-1, -1), 0.3, colors.grey), ("BOX", (0, 0), (-1, -1), 1.2, colors.black)],
    [("GRID", (0, 0), (-1, -1), 0.5, colors.grey), ("BACKGROUND", (0, 0), (-1, 0), colors.lightgrey)],
)
UNRULED = (
    [("LINEBELOW", (0, 0), (-1, 0), 0.6, colors.black)],
    [],
    [("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.whitesmoke, colors.white])],
    [("LINEABOVE", (0, 0), (-1, 0), 1, colors.black), ("LINEBELOW", (0, 0), (-1, 0), 0.5, colors.black),
     ("LINEBELOW", (0, -1), (-1, -1), 1, colors.black)],
)


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


def chart_page(number: int) -> tuple[Truth, bytes]:
    language = "de" if number % 2 else "en"
    writer = Writer(5000 + number, language)
    truth = Truth(f"chart-{number:02d}.pdf", "chart", language)
    sheet = Sheet(writer, truth, FONTS[number % 2])
    sheet.running(number)
    sheet.heading(writer.title())
    sheet.paragraph(writer.paragraph(2))
    figure, texts = chart(writer, number)
    truth.chart = texts
    if number < 5:
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=200, metadata={"Software": ""})
        sheet.top -= 260
        sheet.canvas.drawImage(ImageReader(Image.open(stream)), MARGIN, sheet.top, 420, 260)
    else:
        draw_figure(sheet, figure)
    plt.close(figure)
    sheet.top -= 20
    sheet.caption(f"{WORDS[language]['figure']} {number}: {texts[0]}")
    sheet.paragraph(writer.paragraph(3))
    return truth, sheet.bytes()


def chart(writer: Writer, number: int) -> tuple[Any, list[str]]:
    """A figure and all that is written on it, its title first."""
    language = writer.language
    months = {"en": "Jan Feb Mar Apr May Jun", "de": "Jan Feb Mär Apr Mai Jun"}[language].split()
    unit, across = {"en": ("Litres per day", "Month"), "de": ("Liter pro Tag", "Monat")}[language]
    title = writer.title()
    figure, axes = plt.subplots(figsize=(7, 4.33))
    series = writer.rng.sample(SUPPLIERS.split("|"), 2)
    values = [[writer.rng.randint(20, 180) for _ in months] for _ in series]
    if number % 3 == 2:
        axes.pie(values[0], labels=months)
        texts = [title, *months]
    else:
        for n, (name, column) in enumerate(zip(series, values, strict=True)):
            if number % 3 == 0:
                axes.bar([x + 0.4 * n for x in range(len(months))], column, 0.4, label=name)
            else:
                axes.plot(range(len(months)), column, marker="o", label=name)
        axes.set_xticks(range(len(months)), months)
        axes.set_xlabel(across)
        axes.set_ylabel(unit)
        axes.legend()
        texts = [title, across, unit, *months, *series]
    axes.set_title(title)
    return figure, texts


def draw_figure(sheet: Sheet, figure: Any) -> None:
    """The figure's texts as text at their places, its shapes as a picture: what a drawing program's PDF holds."""
    figure.canvas.draw()
    scale_x, scale_y = 420 / figure.bbox.width, 260 / figure.bbox.height
    sheet.top -= 260
    words = [(text, text.get_window_extent()) for text in figure.findobj(matplotlib.text.Text)
             if text.get_text() and text.get_visible()]
    for text, _ in words:
        text.set_alpha(0)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": ""})
    sheet.canvas.drawImage(ImageReader(Image.open(stream)), MARGIN, sheet.top, 420, 260)
    sheet.canvas.setFont("Helvetica", 6.5)
    for text, box in words:
        x, y = MARGIN + box.x0 * scale_x, sheet.top + box.y0 * scale_y
        if text.get_rotation() == 90:
            sheet.canvas.saveState()
            sheet.canvas.translate(x + 6, y)
            sheet.canvas.rotate(90)
            sheet.canvas.drawString(0, 0, text.get_text())
            sheet.canvas.restoreState()
        else:
            sheet.canvas.drawString(x, y, text.get_text())


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
