"""Parts of a chart by the labels of the graphic-elements service, from text boxes and geometry; there is no model.

The plot is found by its axes. A text is named by where it stands to it: below it a row of labels and their title,
left of it a column of labels and an upright title, above it the title of the chart, beside a patch of colour a legend,
inside it a value or a mark. What this is worth was measured on charts of known truth (`docs/benchmarks.md`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ullage.engines.vision.figure import Mask, ink_of, straight_lines
from ullage.engines.vision.image import Pixels
from ullage.engines.vision.read import is_tall
from ullage.engines.vision.shapes import Box, Line, Region, around

LABELS = ("chart_title", "x_title", "y_title", "xlabel", "ylabel", "other", "legend_label", "legend_title",
          "mark_label", "value_label")

HOW = "labels by position to the axes, by text recognition and geometry; no chart model is packaged"
"""Said in /v1/metadata."""

UNITS = r"[%‰°€$£kKmMbB]|bn|Mio\.?|Mrd\.?|EUR|USD|MWh|kWh|t"
VALUE = re.compile(rf"^[^\w]{{0,2}}[\d.,\s'’]+\s?({UNITS})?$|^[\d.,]+[eE][+-]?\d+$")
AXIS = 0.35
"""Share of the picture's side that an axis covers at least."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text box, what stands there, and whether it runs up the page. `swatch` is a patch of colour before it."""

    line: Line
    box: Box
    upright: bool
    swatch: bool

    @property
    def is_value(self) -> bool:
        return bool(VALUE.match(self.line.text.strip()))


def graphic_elements(picture: Pixels, lines: Sequence[Line]) -> list[Region]:
    """A region for every text of a picture of one chart. `lines` are all its texts."""
    if not lines:
        return []
    ink = ink_of(picture)
    size = float(np.median([line.height for line in lines]))
    texts = [Text(line, line.box, is_tall(line.points) and len(line.text) > 1, _has_swatch(picture, ink, line, size))
             for line in lines]
    plot = _plot(ink, texts)
    named = _named(texts, plot, picture.shape[0], size)
    return [Region(label, text.box, text.line.score) for text, label in zip(texts, named, strict=True)]


@dataclass(frozen=True, slots=True)
class Plot:
    """Where the data stand; without axes, as in a pie, `axes` is false."""

    box: Box
    axes: bool


def _plot(ink: Mask, texts: Sequence[Text]) -> Plot:
    """The area between the axes, else that of all ink but the texts."""
    height, width = ink.shape
    bare = ink.copy()
    for text in texts:
        x0, y0, x1, y1 = (max(0, round(v)) for v in (text.box.x0, text.box.y0, text.box.x1, text.box.y1))
        bare[y0:y1, x0:x1] = 0
    across = straight_lines(bare, width, horizontal=True, share=AXIS)
    along = straight_lines(bare, height, horizontal=False, share=AXIS)
    if across and along:
        left, right = min(place for place, _, _ in along), max(end for _, _, end in across)
        right = max([right, *(place for place, _, _ in along)])
        top, bottom = min(start for _, start, _ in along), max(place for place, _, _ in across)
        top = min([top, *(place for place, _, _ in across)])
        bottom = max([bottom, *(end for _, _, end in along)])
        return Plot(Box(left, top, right, bottom), True)
    if across:  # a chart that shows no vertical axis
        return Plot(_with_ink(bare, Box(min(a for _, a, _ in across), 0, max(b for _, _, b in across),
                                        max(place for place, _, _ in across))), True)
    if along:
        return Plot(_with_ink(bare, Box(min(place for place, _, _ in along), min(a for _, a, _ in along), width,
                                        max(b for _, _, b in along))), True)
    return Plot(_with_ink(bare, Box(0, 0, width, height)), False)


def _with_ink(ink: Mask, within: Box) -> Box:
    """The part of `within` in which something large is drawn."""
    mask = np.zeros_like(ink)
    x0, y0, x1, y1 = (int(v) for v in (within.x0, within.y0, within.x1, within.y1))
    mask[y0 : y1 + 1, x0 : x1 + 1] = ink[y0 : y1 + 1, x0 : x1 + 1]
    mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    parts = [(x, y, x + w, y + h) for x, y, w, h, area in stats[1:count] if area > 0.004 * ink.size]
    if not parts:
        return within
    return around([Box(*map(float, part)) for part in parts])


def _has_swatch(picture: Pixels, ink: Mask, line: Line, size: float) -> bool:
    """Whether a patch or a stroke of one colour stands directly left of a text, with nothing around it."""
    box = line.box
    if is_tall(line.points):
        return False
    # Only the middle of the line: the frame of a legend runs close above and below it.
    y0, y1 = int(max(0, box.y0 + 0.25 * box.height)), int(min(ink.shape[0], box.y1 - 0.25 * box.height + 1))
    x1 = int(max(0, box.x0 - 0.1 * size))
    x0 = int(max(0, box.x0 - 4.5 * size))
    window = ink[y0:y1, x0:x1]
    if window.size == 0 or window.shape[1] < 3:
        return False
    columns = np.asarray(window.any(axis=0))
    filled = np.flatnonzero(columns)
    if not len(filled):
        return False
    # The run of ink next to the text, and emptiness on its far side and between it and the text.
    end = int(filled[-1])
    start = end
    while start > 0 and columns[start - 1]:
        start -= 1
    length, gap = end - start + 1, len(columns) - 1 - end
    if start == 0 or gap > 2.2 * size or not 0.35 * size <= length <= 3.6 * size:
        return False
    colours = picture[y0:y1, x0 + start : x0 + end + 1][window[:, start : end + 1] > 0]
    return float(np.std(colours.astype(np.float32), axis=0).max()) <= 60


def _named(texts: Sequence[Text], plot: Plot, height: int, size: float) -> list[str]:
    """A label for every text."""
    legend = _legend(texts, plot, size)
    labels = [""] * len(texts)
    for place, text in enumerate(texts):
        if place in legend:
            labels[place] = "legend_label"
        elif plot.axes:
            labels[place] = _by_axes(text, plot.box, size)
        else:
            labels[place] = _around_pie(text, plot.box, height, size)
    _name_legend_title(texts, labels, legend, size)
    _split_rows(texts, labels, plot.box, size)
    _one_title(texts, labels, pie=not plot.axes)
    return labels


def _legend(texts: Sequence[Text], plot: Plot, size: float) -> set[int]:
    """Texts with a swatch that stand in one column or one row with another, or alone outside of the axis labels."""
    marked = [i for i, text in enumerate(texts) if text.swatch and not text.is_value]
    if plot.axes:
        left_of = plot.box.x0 - 0.2 * size
        marked = [i for i in marked if texts[i].box.x1 > left_of]
    found = set()
    for i in marked:
        if any(_mates(texts[i].box, texts[j].box, size) for j in marked if j != i):
            found.add(i)
    return found


def _mates(one: Box, other: Box, size: float) -> bool:
    """Whether two texts stand in one column or one row."""
    return abs(one.x0 - other.x0) < size or abs(one.centre[1] - other.centre[1]) < size / 2


def _by_axes(text: Text, plot: Box, size: float) -> str:
    y = text.box.centre[1]
    slack = 0.5 * size
    if text.box.y0 >= plot.y1 - 0.3 * size and not text.upright:
        return "xlabel"
    if text.box.x1 <= plot.x0 + slack:
        return "y_title" if text.upright else "ylabel" if plot.y0 - size <= y <= plot.y1 + size else "other"
    if text.box.x0 >= plot.x1 - slack:
        return "y_title" if text.upright else "ylabel" if text.is_value else "other"
    if y >= plot.y1:
        return "xlabel"
    if y <= plot.y0:
        return "chart_title"
    return "value_label" if text.is_value else "mark_label"


def _around_pie(text: Text, pie: Box, height: int, size: float) -> str:
    y = text.box.centre[1]
    if text.is_value:
        return "value_label"
    if y < pie.y0 - 0.3 * size and y < 0.25 * height:
        return "chart_title"
    if y > pie.y1 + 3 * size:
        return "other"
    return "mark_label"


def _name_legend_title(texts: Sequence[Text], labels: list[str], legend: set[int], size: float) -> None:
    """A text just above the first legend label, over its swatch or its text, heads the legend."""
    if len(legend) < 2:
        return
    box = around([texts[i].box for i in legend])
    box = Box(box.x0 - 4 * size, box.y0, box.x1, box.y1)
    for place, text in enumerate(texts):
        above = 0 < box.y0 - text.box.centre[1] < 2.2 * size
        titled = labels.count("chart_title") > 1 and labels[place] == "chart_title"
        free = titled or labels[place] in ("mark_label", "other")
        if free and above and not text.upright and text.box.inside(
                Box(box.x0 - size, text.box.y0, box.x1 + size, text.box.y1)) > 0.9:
            labels[place] = "legend_title"


def _split_rows(texts: Sequence[Text], labels: list[str], plot: Box, size: float) -> None:
    """Below the plot: the first row is that of the labels, a text alone under it the axis' title, then notes."""
    below = [i for i, label in enumerate(labels) if label == "xlabel"]
    if not below:
        return
    first, row = min(texts[i].box.y0 for i in below), min(texts[i].box.centre[1] for i in below)
    # Labels that are turned hang from the axis: all begin in the first row.
    rest = [i for i in below if texts[i].box.centre[1] > row + 0.7 * size
            and not (texts[i].box.height > 1.8 * size and texts[i].box.y0 < first + size)]
    rest.sort(key=lambda i: texts[i].box.y0)
    titled = False
    for i in rest:
        centre = texts[i].box.centre[0]
        central = abs(centre - (plot.x0 + plot.x1) / 2) < 0.2 * plot.width
        beside = sum(abs(texts[j].box.centre[1] - texts[i].box.centre[1]) < size / 2 for j in rest)
        if beside >= 3:
            continue  # a second row of labels
        labels[i] = "x_title" if central and not titled else "other"
        titled = titled or labels[i] == "x_title"


def _one_title(texts: Sequence[Text], labels: list[str], *, pie: bool) -> None:
    """Of what stands above the plot the largest text is the title, with what continues it; numbers there are values."""
    above = [i for i, label in enumerate(labels) if label == "chart_title"]
    if not above:
        return
    largest = max(texts[i].line.height for i in above)
    top = min(above, key=lambda i: texts[i].box.y0)
    for i in above:
        if pie and i != top:
            labels[i] = "mark_label"
        elif texts[i].is_value:
            labels[i] = "value_label"
        elif texts[i].line.height < 0.75 * largest:
            labels[i] = "other"
