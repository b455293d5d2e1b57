"""A page that is drawn from the top down, and what stands on it."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, Table, TableStyle

from page_words import WORDS, Writer

MARGIN = 22 * mm
WIDTH = A4[0] - 2 * MARGIN
GUTTER = 8 * mm
FONTS = (("Helvetica", "Helvetica-Bold"), ("Times-Roman", "Times-Bold"))

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
