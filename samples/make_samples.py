"""Make the PDF files of the sample handbook.

Run it from the repository root; it takes a few seconds and needs
``pip install reportlab pypdfium2 pillow numpy``:

    python samples/make_samples.py --out samples

How each kind of file in ``samples/handbook/`` comes about:

* ``*.md`` and ``*.html`` are written by hand and live there; nothing makes
  them. This script only makes sure that they are present in ``--out``.
* ``fleet-maintenance-manual.pdf`` and ``safety-and-emergency-plan.pdf`` are
  typeset with reportlab from ``samples/source/*.markup``.
* ``winter-layup-circular-2023-scan.pdf`` is a make-believe scan: its source
  is typeset too, then every page is rendered with pypdfium2, turned a little,
  made dirty with a fixed random seed and saved as a JPEG. The PDF holds these
  pictures and no text.

The markup is a small subset of Markdown, see :func:`read_source`. With the
same library versions every run writes the same bytes.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import argparse
import io
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import pypdfium2 as pdfium
from PIL import Image, ImageFilter
from reportlab import rl_config
from reportlab.graphics.charts.barcharts import VerticalBarChart
from reportlab.graphics.charts.legends import Legend
from reportlab.graphics.shapes import Drawing, String
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Frame,
    KeepTogether,
    ListFlowable,
    ListItem,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)
from reportlab.platypus.tableofcontents import TableOfContents

HERE = Path(__file__).resolve().parent
COMPANY = "Saltmarrow Island Ferries"
TEXT_PDFS = ("fleet-maintenance-manual", "safety-and-emergency-plan")
SCAN_PDF = "winter-layup-circular-2023-scan"
SCAN_DPI = 110
SCAN_SEED = 2023
SCAN_DATE = time.struct_time((2023, 11, 2, 9, 0, 0, 3, 306, 0))
INK = colors.HexColor("#123b4a")
TINT = colors.HexColor("#dfeaee")
SERIES_COLOURS = (colors.HexColor("#8fb3c0"), INK)
MARGIN = 24 * mm
WIDTH = A4[0] - 2 * MARGIN


@dataclass
class Block:
    """One piece of a source file.

    ``kind`` is h1, h2, text, steps, bullets, table or chart.
    """

    kind: str
    text: str = ""
    items: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)


def read_source(path: Path) -> tuple[dict[str, str], list[Block]]:
    """Read a ``.markup`` file: ``key: value`` lines, a blank line, then blocks.

    Blocks are separated by blank lines. They start with ``# `` (chapter),
    ``## `` (section), ``1. `` (numbered steps), ``- `` (bullets), ``Table ``
    (a caption line followed by ``| a | b |`` rows, first row = heads) or
    ``:::chart`` (``key: value`` lines); anything else is a paragraph.
    """
    head, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    meta = dict(line.split(": ", 1) for line in head.splitlines())
    blocks: list[Block] = []
    for chunk in body.strip().split("\n\n"):
        lines = [line.strip() for line in chunk.splitlines()]
        first = lines[0]
        if first.startswith("## "):
            blocks.append(Block("h2", first[3:]))
        elif first.startswith("# "):
            blocks.append(Block("h1", first[2:]))
        elif first.startswith("1. "):
            items = [line.split(". ", 1)[1] for line in lines]
            blocks.append(Block("steps", items=items))
        elif first.startswith("- "):
            blocks.append(Block("bullets", items=[line[2:] for line in lines]))
        elif first == ":::chart":
            blocks.append(Block("chart", items=lines[1:-1]))
        elif first.startswith("Table "):
            rows = [[c.strip() for c in line.strip("|").split("|")] for line in lines[1:]]
            if len({len(row) for row in rows}) != 1:
                raise ValueError(f"{path.name}: uneven rows in {first!r}")
            blocks.append(Block("table", first, rows=rows))
        else:
            blocks.append(Block("text", " ".join(lines)))
    return meta, blocks


def make_styles(body_font: str, head_font: str, size: float) -> dict[str, Any]:
    """The paragraph styles of one document."""

    def style(name: str, **changes: Any) -> Any:
        settings: dict[str, Any] = {"fontName": body_font, "fontSize": size}
        settings.update(changes)
        settings.setdefault("leading", settings["fontSize"] * 1.38)
        return ParagraphStyle(name, **settings)

    head: dict[str, Any] = {"fontName": head_font, "textColor": INK, "keepWithNext": 1}
    return {
        "text": style("text", spaceAfter=7),
        "h1": style("h1", **head, fontSize=size + 8, spaceAfter=10),
        "h2": style("h2", **head, fontSize=size + 2, spaceBefore=8, spaceAfter=5),
        "title": style("title", fontName=head_font, fontSize=28, textColor=INK),
        "caption": style(
            "caption", fontName=head_font, fontSize=9.5, spaceBefore=5, spaceAfter=4, keepWithNext=1
        ),
        "cell": style("cell", fontName="Helvetica", fontSize=9, leading=11.5),
        "head": style("head", fontName="Helvetica-Bold", fontSize=9, leading=11.5),
        "toc": style("toc", leading=21),
    }


def column_widths(rows: list[list[str]], available: float) -> list[float]:
    """Share the width out by the longest text, but never break a single word."""
    padding = 12.0
    wanted: list[float] = []
    least: list[float] = []
    for column in zip(*rows, strict=True):
        texts = [stringWidth(cell, "Helvetica-Bold", 9) for cell in column]
        words = [stringWidth(w, "Helvetica-Bold", 9) for cell in column for w in cell.split()]
        wanted.append(max(texts) + padding)
        least.append(max(words, default=0.0) + padding)
    spare = available - sum(least)
    stretch = [w - m for w, m in zip(wanted, least, strict=True)]
    if spare < 0:
        raise ValueError("table too wide for the page")
    factor = spare / sum(stretch) if sum(stretch) else 0.0
    if factor > 1.0:  # everything fits on one line: spread the rest evenly
        extra = (available - sum(wanted)) / len(wanted)
        return [w + extra for w in wanted]
    return [m + s * factor for m, s in zip(least, stretch, strict=True)]


def make_table(block: Block, styles: dict[str, Any]) -> Any:
    """A ruled table with its caption above it."""
    cells = [
        [Paragraph(escape(cell), styles["cell" if number else "head"]) for cell in row]
        for number, row in enumerate(block.rows)
    ]
    table = Table(cells, colWidths=column_widths(block.rows, WIDTH), repeatRows=1)
    table.setStyle(
        TableStyle(
            [
                ("GRID", (0, 0), (-1, -1), 0.6, colors.HexColor("#5b6f77")),
                ("BACKGROUND", (0, 0), (-1, 0), TINT),
                ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
                ("TOPPADDING", (0, 0), (-1, -1), 3),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
            ]
        )
    )
    caption = Paragraph(escape(block.text), styles["caption"])
    return KeepTogether([caption, table, Spacer(1, 9)])


def make_chart(block: Block, styles: dict[str, Any]) -> Any:
    """A bar chart with named axes, a legend and a caption."""
    values: dict[str, str] = {}
    series: list[tuple[str, list[float]]] = []
    for line in block.items:
        key, value = line.split(": ", 1)
        if key == "series":
            name, _, numbers = value.partition(" = ")
            series.append((name, [float(n) for n in numbers.split(",")]))
        else:
            values[key] = value
    drawing = Drawing(WIDTH, 215)
    chart = VerticalBarChart()
    chart.x, chart.y, chart.width, chart.height = 38, 26, WIDTH - 50, 150
    chart.data = [numbers for _, numbers in series]
    chart.categoryAxis.categoryNames = [name.strip() for name in values["x"].split(",")]
    chart.categoryAxis.labels.fontName = chart.valueAxis.labels.fontName = "Helvetica"
    chart.categoryAxis.labels.fontSize = chart.valueAxis.labels.fontSize = 8.5
    step = 50
    highest = max(number for _, numbers in series for number in numbers)
    chart.valueAxis.valueMin = 0
    chart.valueAxis.valueMax = step * (int(highest // step) + 1)
    chart.valueAxis.valueStep = step
    chart.valueAxis.visibleGrid = True
    chart.valueAxis.gridStrokeColor = colors.HexColor("#d5dde0")
    chart.groupSpacing = 8
    for number, colour in enumerate(SERIES_COLOURS):
        chart.bars[number].fillColor = colour
        chart.bars[number].strokeColor = None
    legend = Legend()
    legend.x, legend.y = WIDTH - 220, 206
    legend.fontName, legend.fontSize = "Helvetica", 8.5
    legend.alignment, legend.columnMaximum, legend.deltax = "right", 1, 90
    names = [name for name, _ in series]
    legend.colorNamePairs = list(zip(SERIES_COLOURS, names, strict=True))
    label = String(4, 196, values["ylabel"], fontName="Helvetica", fontSize=8.5)
    for part in (chart, legend, label):
        drawing.add(part)
    caption = Paragraph(escape(values["caption"]), styles["caption"])
    return KeepTogether([Spacer(1, 4), drawing, caption, Spacer(1, 6)])


def make_story(blocks: list[Block], styles: dict[str, Any], number_chapters: bool) -> list[Any]:
    """Turn blocks into reportlab flowables."""
    story: list[Any] = []
    chapter = 0
    section = 0
    for block in blocks:
        text = escape(block.text)
        if block.kind == "h1":
            chapter, section = chapter + 1, 0
            if story:
                story += [CondPageBreak(95 * mm), Spacer(1, 14)]
            label = f"{chapter}&nbsp;&nbsp;{text}" if number_chapters else text
            story.append(Paragraph(label, styles["h1"]))
        elif block.kind == "h2":
            section += 1
            label = f"{chapter}.{section}&nbsp;&nbsp;{text}" if number_chapters else text
            story += [CondPageBreak(60), Paragraph(label, styles["h2"])]
        elif block.kind == "text":
            story.append(Paragraph(text, styles["text"]))
        elif block.kind in ("steps", "bullets"):
            items = [ListItem(Paragraph(escape(item), styles["text"])) for item in block.items]
            bullet = "1" if block.kind == "steps" else "bullet"
            story.append(ListFlowable(items, bulletType=bullet, leftIndent=18))
        elif block.kind == "table":
            story.append(make_table(block, styles))
        elif block.kind == "chart":
            story.append(make_chart(block, styles))
    return story


def page_furniture(meta: dict[str, str]) -> Callable[[Any, Any], None]:
    """The function that draws the running header and footer of a page."""

    def draw(canvas: Any, _doc: Any) -> None:
        canvas.saveState()
        canvas.setFont("Helvetica", 8.5)
        canvas.setFillColor(INK)
        canvas.setStrokeColor(INK)
        top, bottom, right = A4[1] - 15 * mm, 14 * mm, A4[0] - MARGIN
        canvas.drawString(MARGIN, top, COMPANY)
        canvas.drawRightString(right, top, meta["title"])
        canvas.line(MARGIN, top - 4, right, top - 4)
        canvas.line(MARGIN, bottom + 11, right, bottom + 11)
        canvas.drawString(MARGIN, bottom, f"{meta['number']}, {meta['issue']}, {meta['date']}")
        canvas.drawRightString(right, bottom, f"Page {canvas.getPageNumber()}")
        canvas.restoreState()

    return draw


def new_document(target: Any, meta: dict[str, str]) -> Any:
    """An empty reportlab document with a plain cover page and framed pages."""
    doc = BaseDocTemplate(target, pagesize=A4, title=meta["title"], author=COMPANY)
    frame = Frame(MARGIN, 24 * mm, WIDTH, A4[1] - 46 * mm, 0, 0, 0, 0)
    doc.addPageTemplates(
        [
            PageTemplate("cover", [frame]),
            PageTemplate("inner", [frame], onPage=page_furniture(meta)),
        ]
    )
    return doc


def make_text_pdf(source: Path, target: Path) -> None:
    """Typeset one document with cover, contents and chapters."""
    meta, blocks = read_source(source)
    styles = make_styles("Times-Roman", "Helvetica-Bold", 11.5)
    contents = TableOfContents(levelStyles=[styles["toc"]])
    story: list[Any] = [
        NextPageTemplate("inner"),
        Spacer(1, 60 * mm),
        Paragraph(COMPANY, styles["h2"]),
        Paragraph(escape(meta["title"]), styles["title"]),
        Spacer(1, 12 * mm),
        Paragraph(f"Document {meta['number']}, {meta['issue']}", styles["text"]),
        Paragraph(f"In force from {meta['date']}", styles["text"]),
        Paragraph(f"Owner: {escape(meta['owner'])}", styles["text"]),
        Paragraph("Printed copies are not controlled unless numbered in red.", styles["text"]),
        PageBreak(),
        Paragraph("Contents", styles["h1"]),
        contents,
        PageBreak(),
        *make_story(blocks, styles, number_chapters=True),
    ]
    doc = new_document(str(target), meta)

    def note_chapter(flowable: Any) -> None:
        if isinstance(flowable, Paragraph) and flowable.style.name == "h1":
            text = flowable.text.replace("&nbsp;", " ")
            if text != "Contents":
                doc.notify("TOCEntry", (0, text, doc.page))

    doc.afterFlowable = note_chapter
    doc.multiBuild(story)


def dirty(page: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Make a rendered page look scanned: turned, blurred, shaded, speckled."""
    angle = float(rng.uniform(0.5, 1.3) * rng.choice([-1, 1]))
    turned = page.rotate(angle, Image.Resampling.BICUBIC, fillcolor=255)
    grey = np.asarray(turned.filter(ImageFilter.GaussianBlur(0.5)), dtype=np.float64)
    height, width = grey.shape
    grey = 30 + grey * (212 / 255)  # faded ink on greyish paper
    shade = np.linspace(0, 22, width)[None, :] + np.linspace(10, 0, height)[:, None]
    grey = grey - shade + rng.normal(0, 4, grey.shape)
    for _ in range(420):  # dust
        y, x = int(rng.integers(0, height - 3)), int(rng.integers(0, width - 3))
        size = int(rng.integers(1, 3))
        grey[y : y + size, x : x + size] = rng.choice([60, 110, 250])
    column = int(rng.integers(width // 8, width - width // 8))
    grey[:, column] -= 25  # a scratch on the glass
    return Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8), "L")


def make_scan_pdf(source: Path, target: Path) -> None:
    """Typeset the source in memory, then save dirty pictures of its pages."""
    meta, blocks = read_source(source)
    styles = make_styles("Courier", "Courier-Bold", 11)
    memory = io.BytesIO()
    doc = new_document(memory, meta)
    opening: list[Any] = [
        Paragraph(COMPANY, styles["h2"]),
        Paragraph(f"{meta['number']}, {meta['date']}", styles["text"]),
        Spacer(1, 8),
    ]
    doc.pageTemplates.pop(0)  # no cover: a circular starts right away
    doc.build(opening + make_story(blocks, styles, number_chapters=False))
    rng = np.random.default_rng(SCAN_SEED)
    rendered = pdfium.PdfDocument(memory.getvalue())
    pages = [
        dirty(page.render(scale=SCAN_DPI / 72, grayscale=True).to_pil().convert("L"), rng)
        for page in rendered
    ]
    pages[0].save(
        target,
        "PDF",
        save_all=True,
        append_images=pages[1:],
        resolution=SCAN_DPI,
        quality=45,
        title="scan0014",
        creationDate=SCAN_DATE,
        modDate=SCAN_DATE,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Make the sample handbook.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder that gets handbook/")
    handbook: Path = parser.parse_args().out / "handbook"
    handbook.mkdir(parents=True, exist_ok=True)
    rl_config.invariant = 1  # no dates and no random ids in the PDF files
    for name in TEXT_PDFS:
        make_text_pdf(HERE / "source" / f"{name}.markup", handbook / f"{name}.pdf")
    make_scan_pdf(HERE / "source" / f"{SCAN_PDF}.markup", handbook / f"{SCAN_PDF}.pdf")
    for original in sorted((HERE / "handbook").iterdir()):
        copy = handbook / original.name
        if original.suffix in (".md", ".html") and original.resolve() != copy.resolve():
            shutil.copyfile(original, copy)
    for path in sorted(handbook.iterdir()):
        print(f"{path.stat().st_size:>9,} bytes  {path.name}")


if __name__ == "__main__":
    main()
