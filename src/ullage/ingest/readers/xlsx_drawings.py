"""What lies on the sheets of an Excel file beside cells: pictures, and charts with the values they were drawn from."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from openpyxl.chart.chartspace import ChartSpace
from openpyxl.drawing.spreadsheet_drawing import SpreadsheetDrawing
from openpyxl.packaging.relationship import get_dependents, get_rels_path
from openpyxl.utils.exceptions import InvalidFileException
from openpyxl.xml.functions import fromstring

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Picture, one_line, table_block
from ullage.ingest.readers.archive import part
from ullage.ingest.readers.pictures import MOST_INSIDE, picture_inside
from ullage.ingest.readers.source import Source

MOST_CHARTS = 300
"""Of one file; a chart has at most MOST_POINTS categories."""

MOST_POINTS = 500

BREAKING = (InvalidFileException, SyntaxError, KeyError, ValueError, TypeError, AttributeError, IndexError, OSError,
            zipfile.BadZipFile, EOFError, NotImplementedError)
"""What openpyxl raises for broken parts; a SyntaxError is one of XML."""


class Drawings:
    """The drawings of one file. A broken one is a warning: the cells are read all the same."""

    def __init__(self, opened: zipfile.ZipFile, source: Source) -> None:
        self._opened = opened
        self._source = source
        self._names = frozenset(opened.namelist())
        self._pictures = self._charts = 0

    def under(self, sheet: str, title: str, path: tuple[str, ...]) -> Iterator[Block | Picture]:
        """What lies on the sheet whose part has the name `sheet`, from the top down."""
        try:
            for drawing in self._related(sheet).values():
                if drawing.Type == SpreadsheetDrawing._rel_type:
                    yield from self._drawn(drawing.target, path)
        except (*BREAKING, DocumentRefused) as error:
            self._source.warnings.append(f"{self._source.name}: pictures and charts of sheet {title[:80]!r} cannot be "
                                         f"read ({type(error).__name__}); save it again")

    def _drawn(self, name: str, path: tuple[str, ...]) -> Iterator[Block | Picture]:
        drawn = SpreadsheetDrawing.from_tree(fromstring(part(self._opened, self._source, name)))
        parts = self._related(name)
        for shown in sorted([*drawn._blip_rels, *drawn._chart_rels], key=_place):
            embedded = getattr(shown, "embed", None)
            related = parts.get(embedded or shown.id or "")
            if related is not None:
                yield from self._item(related.target, path, picture=bool(embedded))

    def _item(self, name: str, path: tuple[str, ...], *, picture: bool) -> Iterator[Block | Picture]:
        if picture and self._pictures < MOST_INSIDE:
            self._pictures += 1
            seen = picture_inside(part(self._opened, self._source, name), self._source, path)
            yield from () if seen is None else (seen,)
        elif not picture and self._charts < MOST_CHARTS:
            self._charts += 1
            yield from _chart(ChartSpace.from_tree(fromstring(part(self._opened, self._source, name))), path)

    def _related(self, name: str) -> dict[str, Any]:
        """Relations of a part by their ids, those that leave the file left out."""
        relations = get_rels_path(name)
        if relations not in self._names:
            return {}
        found = get_dependents(self._opened, relations)
        return {one.Id: one for one in found if one.TargetMode != "External" and one.target in self._names}


def _place(shown: Any) -> tuple[int, int]:
    start = getattr(shown.anchor, "_from", None)
    return (0, 0) if start is None else (start.row, start.col)


def _chart(space: ChartSpace, path: tuple[str, ...]) -> Iterator[Block]:
    """Its titles, and its values as a table, a category a row."""
    area = space.chart.plotArea
    title = _words(space.chart.title)
    series = [one for chart in area._charts for one in chart.ser]
    axes = [text for axis in area._axes if (text := _words(axis.title))]
    names = [_name(one) for one in series]
    columns = [_points(getattr(one, "val", None) or getattr(one, "yVal", None)) for one in series]
    first = series[0] if series else None
    rows_of = _points(getattr(first, "cat", None) or getattr(first, "xVal", None))
    rows = [[category, *(column[at] if at < len(column) else "" for column in columns)]
            for at, category in enumerate(rows_of)]
    block = table_block([[" / ".join(axes), *_numbered(names)], *rows], path, title) if rows else None
    if block is not None:
        yield Block("chart", block.text, path=path, items=block.items, caption=title)
        return
    told = [line for line in (title, ", ".join(axes), ", ".join(name for name in names if name)) if line]
    if told:
        yield Block("chart", "\n".join(told), path=path)


def _numbered(names: Sequence[str]) -> list[str]:
    return [name or f"Series {number}" for number, name in enumerate(names, start=1)]


def _words(title: Any) -> str:
    """A title as it was written, or as the cell it comes from last held."""
    text = None if title is None else title.tx
    if text is None:
        return ""
    if text.rich is not None:
        return one_line(" ".join(run.t or "" for paragraph in text.rich.p for run in paragraph.r or ()))
    return one_line(" ".join(_cached(text.strRef)))


def _name(series: Any) -> str:
    text = series.tx
    return "" if text is None else one_line(text.v or " ".join(_cached(text.strRef)))


def _points(values: Any) -> list[str]:
    """Categories or values as they were last computed."""
    if values is None:
        return []
    return _cached(getattr(values, "strRef", None)) or _cached(getattr(values, "numRef", None))


def _cached(reference: Any) -> list[str]:
    cache = getattr(reference, "strCache", None) or getattr(reference, "numCache", None)
    points: Sequence[Any] = () if cache is None else cache.pt
    found = [""] * min(MOST_POINTS, max((point.idx + 1 for point in points), default=0))
    for point in points:
        if 0 <= point.idx < len(found):
            found[point.idx] = f"{point.v:.10g}" if isinstance(point.v, float) else one_line(str(point.v or ""))
    return found
