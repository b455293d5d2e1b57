"""Pages with a chart, as a picture or drawn."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import io
from typing import Any

import matplotlib
from PIL import Image
from reportlab.lib.utils import ImageReader

from page_sheet import FONTS, MARGIN, Sheet, Truth
from page_words import SUPPLIERS, WORDS, Writer

matplotlib.use("Agg")
from matplotlib import pyplot as plt


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
