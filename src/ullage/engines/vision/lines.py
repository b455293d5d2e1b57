"""From lines of text to an order of reading and to paragraphs, by where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ullage.engines.vision.shapes import Box, Line, around, box_of

Level = Literal["word", "sentence", "paragraph"]
"""How much of the text one entry holds. A "sentence" is a line of text, as the service this one replaces has it."""

COLUMN_GAP = 0.012
"""Share of the page's width that is empty from top to bottom between two columns."""

STRAIGHT = 0.002
"""Radians of skew that need no correction: half a line's height over a page's width."""

LEADING = 0.8
"""Empty height, in heights of a line, that still joins two lines of a paragraph."""


def merged(lines: Sequence[Line], level: Level) -> list[Line]:
    """The lines at a level, in reading order."""
    ordered = in_order(lines)
    if level == "word":
        return [word for line in ordered for word in (line.words or (line,))]
    return ordered if level == "sentence" else [_joined(group) for group in paragraphs(ordered)]


def in_order(lines: Sequence[Line]) -> list[Line]:
    """Columns from left to right, lines from top to bottom; along the lines where the page is skewed."""
    return [lines[index] for index in reading_order(_straight(lines, skew(lines)))]


def skew(lines: Sequence[Line]) -> float:
    """Radians by which lines fall to the right, the longer ones counting more; 0 for none."""
    along = [line.points[1] - line.points[0] for line in lines]
    flat = [edge for edge in along if abs(edge[0]) > 4 * abs(edge[1])]
    if not flat:
        return 0.0
    total = np.sum(flat, axis=0)
    return float(np.arctan2(total[1], total[0]))


def _straight(lines: Sequence[Line], angle: float) -> list[Box]:
    """The boxes of lines as they would stand on a page without skew."""
    if abs(angle) < STRAIGHT:
        return [line.box for line in lines]
    cos, sin = np.cos(angle), np.sin(angle)
    turn = np.array([(cos, -sin), (sin, cos)], np.float32)
    return [box_of(line.points @ turn) for line in lines]


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """Indices in the order of reading: the page is cut along empty stripes, across first, then along (XY-cut)."""
    if len(boxes) < 2:
        return list(range(len(boxes)))
    page = around(boxes)
    return _cut(boxes, list(range(len(boxes))), page.width * COLUMN_GAP, 0)


def _cut(boxes: Sequence[Box], chosen: list[int], gap: float, depth: int) -> list[int]:
    if len(chosen) < 2 or depth > 32:
        return _by_rows(boxes, chosen)
    columns = _stripes([(boxes[i].x0, boxes[i].x1) for i in chosen], gap)
    if columns > [0] and _are_columns(boxes, chosen, columns):
        groups = _grouped(chosen, columns)
        return [i for group in groups for i in _cut(boxes, group, gap, depth + 1)]
    bands = _bands(boxes, chosen, gap)
    if len(bands) > 1:
        return [i for group in bands for i in _cut(boxes, group, gap, depth + 1)]
    return _by_rows(boxes, chosen)


def _stripes(spans: Sequence[tuple[float, float]], gap: float) -> list[int]:
    """The number of the group of each span, where groups are separated by `gap` of emptiness."""
    order = np.argsort([start for start, _ in spans], kind="stable")
    numbers, number, reach = [0] * len(spans), 0, None
    for index in order:
        start, end = spans[index]
        if reach is not None and start - reach > gap:
            number += 1
        reach = end if reach is None else max(reach, end)
        numbers[index] = number
    return numbers


def _grouped(chosen: list[int], numbers: list[int]) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in range(max(numbers) + 1)]
    for index, number in zip(chosen, numbers, strict=True):
        groups[number].append(index)
    return groups


def _are_columns(boxes: Sequence[Box], chosen: list[int], numbers: list[int]) -> bool:
    """Cells of a table leave stripes too: columns of text hold several lines each, of which many are long."""
    if max(numbers) == 0:
        return False
    groups = _grouped(chosen, numbers)
    for group in groups:
        if len(group) < 3:
            return False
        widest = around([boxes[i] for i in group]).width
        height = float(np.median([boxes[i].height for i in group]))
        long = sum(boxes[i].width > 0.6 * widest for i in group)
        if widest < 8 * height or long < len(group) / 2:
            return False
    return True


def _bands(boxes: Sequence[Box], chosen: list[int], gap: float) -> list[list[int]]:
    """The page cut once across, where everything below is columns or everything above is; else one band."""
    rows = _stripes([(boxes[i].y0, boxes[i].y1) for i in chosen], 0.0)
    groups = _grouped(chosen, rows)
    if len(groups) < 2:
        return [chosen]
    for count in range(1, len(groups)):
        for part, rest in ((groups[count:], groups[:count]), (groups[:-count], groups[-count:])):
            inner = [i for group in part for i in group]
            numbers = _stripes([(boxes[i].x0, boxes[i].x1) for i in inner], gap)
            if _are_columns(boxes, inner, numbers):
                other = [i for group in rest for i in group]
                return [other, inner] if part is not groups[:-count] and min(other) in groups[0] else (
                    [other, inner] if set(groups[0]) <= set(other) else [inner, other])
    return [chosen]


def _by_rows(boxes: Sequence[Box], chosen: list[int]) -> list[int]:
    """Top to bottom; boxes that overlap in height by half are one row, left to right."""
    rows: list[list[int]] = []
    for index in sorted(chosen, key=lambda i: boxes[i].centre[1]):
        row = rows[-1] if rows else None
        if row is not None and _same_row(boxes[row[-1]], boxes[index]):
            row.append(index)
        else:
            rows.append([index])
    return [index for row in rows for index in sorted(row, key=lambda i: boxes[i].x0)]


def _same_row(one: Box, other: Box) -> bool:
    both = min(one.y1, other.y1) - max(one.y0, other.y0)
    return both > 0.5 * min(one.height, other.height)


def paragraphs(ordered: Sequence[Line]) -> list[list[Line]]:
    """Lines of one size, one below the other without much between them."""
    groups: list[list[Line]] = []
    boxes = _straight(ordered, skew(ordered))
    for place, line in enumerate(ordered):
        if place and _continues(ordered[place - 1], boxes[place - 1], line, boxes[place]):
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def _continues(before: Line, last: Box, line: Line, box: Box) -> bool:
    size, own = before.height, line.height
    if _same_row(last, box):
        return 0 <= box.x0 - last.x1 < size
    beside = min(last.x1, box.x1) - max(last.x0, box.x0)
    near = -0.5 * size < box.y0 - last.y1 < LEADING * size
    return near and beside > 0.5 * min(last.width, box.width) and 0.7 < own / max(size, 1e-6) < 1.4


def _joined(group: Sequence[Line]) -> Line:
    if len(group) == 1:
        return group[0]
    weights = [max(1, len(line.text)) for line in group]
    score = float(np.average([line.score for line in group], weights=weights))
    return Line(around([line.box for line in group]).points, " ".join(line.text for line in group), score)
