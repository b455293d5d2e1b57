"""Parts of a page by the labels of the page-elements service, from a layout model, text boxes and geometry.

The model's labels are those of a collection of papers; the contract's are others. What the model takes for a figure is
told apart here (chart, drawing, photograph), and text that it does not see, as on noisy scans, is put into paragraphs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ullage.engines.vision.figure import ink_of, kind_of
from ullage.engines.vision.grid import ruled_grid
from ullage.engines.vision.image import Pixels
from ullage.engines.vision.lines import in_order, paragraphs
from ullage.engines.vision.shapes import Box, Line, Points, Region, around, box_of

Version = Literal["v2", "v3"]
LABELS: dict[Version, tuple[str, ...]] = {
    "v2": ("table", "chart", "title", "infographic"),
    "v3": ("table", "chart", "title", "infographic", "paragraph", "header_footer"),
}
MEANING = {
    "text": "paragraph", "reference": "paragraph", "equation": "paragraph", "figure_caption": "paragraph",
    "table_caption": "paragraph", "title": "title", "table": "table", "header": "header_footer",
    "footer": "header_footer", "figure": "figure",
}
LEAST = 0.3
"""Score from which the model's region counts; clean pages give 0.5 and more, noisy ones 0.3."""

GEOMETRY = 0.35
"""Score of a region that only text boxes speak for."""

WHOLE = ("table", "chart", "infographic")
"""What is more than its text."""

LEAST_INSIDE = 0.35
"""Share of a line of text that lies in a region for it to be part of it."""

MARGIN = 0.08
"""Share of a page's height at its top and bottom where running heads stand."""


def page_elements(image: Pixels, found: Sequence[Region], texts: Sequence[Points], version: Version) -> list[Region]:
    """Regions with labels of `version`.

    `image` is without grain, `found` is what the layout model says, `texts` are all text boxes.
    """
    boxes = [box_of(points) for points in texts]
    named = [one for region in _distinct(found) if (one := _named(image, region, boxes)) is not None]
    owners = [_owner(box, named) for box in boxes]
    fitted = [_fitted(image, region, [box for box, owner in zip(boxes, owners, strict=True) if owner == place])
            for place, region in enumerate(named)]
    free = [points for points, owner in zip(texts, owners, strict=True) if owner is None]
    kept = [region for region in fitted if region is not None] + _unseen(free, image.shape[0])
    return [region for region in kept if region.label in LABELS[version]]


def _owner(box: Box, regions: Sequence[Region]) -> int | None:
    """The region that a line of text belongs to: that which covers most of it, tables and figures first."""
    shares = [(region.label in WHOLE, box.inside(region.box), place) for place, region in enumerate(regions)]
    inside = [share for share in shares if share[1] > LEAST_INSIDE]
    return max(inside)[2] if inside else None


def _fitted(image: Pixels, region: Region, lines: Sequence[Box]) -> Region | None:
    """A region drawn around what is in it: the model's boxes are a line off at times. None when nothing is."""
    reach = around([region.box, *lines]) if region.label in WHOLE or not lines else around(list(lines))
    box = _around_ink(image, reach)
    return None if box is None else Region(region.label, box, region.score)


def _around_ink(image: Pixels, box: Box) -> Box | None:
    x0, y0, x1, y1 = (int(v) for v in (box.x0, box.y0, box.x1, box.y1))
    ink = ink_of(image[y0 : y1 + 1, x0 : x1 + 1])
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    if not len(rows):
        return None
    return Box(float(x0 + columns[0]), float(y0 + rows[0]), float(x0 + columns[-1] + 1), float(y0 + rows[-1] + 1))


def _distinct(found: Sequence[Region]) -> list[Region]:
    """Without what a better region covers, in whatever class; a table or figure is not cut by the text inside it."""
    large = sorted(found, key=lambda region: (region.label not in ("table", "figure"), -region.score))
    kept: list[Region] = []
    for region in large:
        if all(region.box.inside(other.box) < 0.7 and not _swallows(region, other) for other in kept):
            kept.append(region)
    return kept


def _swallows(region: Region, other: Region) -> bool:
    """Whether a region holds a better one of its own kind, such as a column its paragraphs."""
    return other.box.inside(region.box) > 0.7 and region.score < other.score


def _named(image: Pixels, region: Region, texts: Sequence[Box]) -> Region | None:
    label = MEANING[region.label]
    if label != "figure":
        return Region(label, region.box, region.score)
    inside = [box for box in texts if box.inside(region.box) > 0.6]
    if _is_text(region.box, inside):
        return Region("paragraph", region.box, min(region.score, GEOMETRY))
    x0, y0, x1, y1 = (int(v) for v in (region.box.x0, region.box.y0, region.box.x1, region.box.y1))
    part = image[y0 : y1 + 1, x0 : x1 + 1]
    moved = [Box(b.x0 - x0, b.y0 - y0, b.x1 - x0, b.y1 - y0) for b in inside]
    if _is_table(part, moved):
        return Region("table", region.box, region.score)
    kind = kind_of(part, moved)
    return None if kind == "photograph" else Region(kind, region.box, region.score)


def _is_text(box: Box, inside: Sequence[Box]) -> bool:
    """Whether a figure is nothing but lines of text."""
    if len(inside) < 3:
        return False
    covered = sum(line.area for line in inside) / box.area
    return covered > 0.4 and float(np.median([line.width for line in inside])) > 0.5 * box.width


def _is_table(picture: Pixels, texts: Sequence[Box]) -> bool:
    """Whether a figure is a ruled table: most of the cells that its rules make hold text. Those of a chart do not."""
    grid = ruled_grid(picture) if min(picture.shape[:2]) >= 40 else None
    if grid is None:
        return False
    cells = [grid.box(cell) for cell in grid.cells]
    return sum(any(text.inside(cell) > 0.5 for text in texts) for cell in cells) > 0.6 * len(cells)


def _unseen(texts: Sequence[Points], height: int) -> list[Region]:
    """Paragraphs of the text that lies in no region; running heads at the edges."""
    left = [Line(points, "", 1.0) for points in texts]
    found = []
    for group in paragraphs(in_order(left)):
        box = around([line.box for line in group])
        edge = box.y1 < MARGIN * height or box.y0 > (1 - MARGIN) * height
        label = "header_footer" if edge and len(group) == 1 else "paragraph"
        found.append(Region(label, box, GEOMETRY))
    return found
