"""PowerPoint files by python-pptx: a slide is a page."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

import pptx
from lxml import etree
from pptx.enum.shapes import MSO_SHAPE_TYPE, PP_PLACEHOLDER
from pptx.exc import PythonPptxError

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Box, Headings, Page, Picture, clean, one_line, page_of, table_block
from ullage.ingest.readers.archive import archive, check_xml
from ullage.ingest.readers.pictures import MOST_INSIDE, picture_inside
from ullage.ingest.readers.source import Source

MOST_SLIDES = 2000
DEEPEST_GROUP = 20
EMU_PER_POINT = 12_700
_TITLES = (PP_PLACEHOLDER.TITLE, PP_PLACEHOLDER.CENTER_TITLE, PP_PLACEHOLDER.VERTICAL_TITLE)
_FURNITURE = (PP_PLACEHOLDER.SLIDE_NUMBER, PP_PLACEHOLDER.FOOTER, PP_PLACEHOLDER.DATE, PP_PLACEHOLDER.HEADER)
_BREAKING = (PythonPptxError, KeyError, ValueError, TypeError, AttributeError, IndexError, OSError, zipfile.BadZipFile,
             etree.LxmlError, NotImplementedError)


def read_pptx(source: Source) -> Iterator[Page]:
    with archive(source) as opened:
        check_xml(opened, source)
    try:
        with source.open() as stream:
            deck = pptx.Presentation(stream)
        slides = list(deck.slides)
        if len(slides) > MOST_SLIDES:
            raise DocumentRefused(f"{source.name}: has {len(slides)} slides, {MOST_SLIDES} at most; split it")
        source.total = len(slides)
        size = (_points(deck.slide_width), _points(deck.slide_height))
        walk = _Walk(source)
        for number, slide in enumerate(slides, start=1):
            yield page_of(number, walk.slide(slide), width=size[0], height=size[1])
    except DocumentRefused:
        raise
    except _BREAKING as error:
        raise DocumentRefused(f"{source.name}: is a broken PowerPoint file ({type(error).__name__}); save it again"
                              ) from None


class _Walk:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._seen = 0

    def slide(self, slide: Any) -> Iterator[Block | Picture]:
        """The title, then the shapes from the top down, then the speaker's notes."""
        headings = Headings()
        shapes = sorted(_flat(slide.shapes, 0), key=_place)
        for shape in (shape for shape in shapes if _placeholder(shape) in _TITLES):
            title = one_line(shape.text_frame.text)
            if title:
                yield headings.enter(1, title)
        for shape in shapes:
            if _placeholder(shape) not in (*_TITLES, *_FURNITURE):
                yield from self._shape(shape, headings.path)
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            notes = clean(slide.notes_slide.notes_text_frame.text)
            if notes:
                yield Block("paragraph", notes, path=headings.path)

    def _shape(self, shape: Any, path: tuple[str, ...]) -> Iterator[Block | Picture]:
        box = _box(shape)
        if getattr(shape, "has_table", False):
            rows = [[cell.text for cell in row.cells] for row in shape.table.rows]
            block = table_block(rows, path, box=box)
            if block is not None:
                yield block
        elif getattr(shape, "has_chart", False):
            yield from _chart(shape.chart, path, box)
        elif shape.has_text_frame:
            entries = [one_line(paragraph.text) for paragraph in shape.text_frame.paragraphs]
            items = tuple(f"- {entry}" for entry in entries if entry)
            if len(items) == 1:
                yield Block("paragraph", items[0].removeprefix("- "), path=path, box=box)
            elif items:
                yield Block("list", "\n".join(items), path=path, items=items, box=box)
        elif shape.shape_type == MSO_SHAPE_TYPE.PICTURE and self._seen < MOST_INSIDE:
            self._seen += 1
            picture = picture_inside(shape.image.blob, self._source, path)
            if picture is not None:
                yield picture


def _flat(shapes: Any, depth: int) -> Iterator[Any]:
    for shape in shapes:
        if shape.shape_type == MSO_SHAPE_TYPE.GROUP and depth < DEEPEST_GROUP:
            yield from _flat(shape.shapes, depth + 1)
        else:
            yield shape


def _placeholder(shape: Any) -> Any:
    return shape.placeholder_format.type if shape.is_placeholder else None


def _place(shape: Any) -> tuple[int, int]:
    return int(shape.top or 0), int(shape.left or 0)


def _box(shape: Any) -> Box | None:
    if None in (shape.left, shape.top, shape.width, shape.height):
        return None
    left, top = _points(shape.left), _points(shape.top)
    return (left, top, left + _points(shape.width), top + _points(shape.height))


def _points(emu: Any) -> float:
    return round(float(emu or 0) / EMU_PER_POINT, 1)


def _chart(chart: Any, path: tuple[str, ...], box: Box | None) -> Iterator[Block]:
    """Its title and its values as a table, a category a row."""
    title = one_line(chart.chart_title.text_frame.text) if chart.has_title and chart.chart_title.has_text_frame else ""
    plot = next(iter(chart.plots), None)
    if plot is None:
        return
    series = list(plot.series)
    names = [one_line(str(one.name or f"Series {n}")) for n, one in enumerate(series, start=1)]
    values = [list(one.values) for one in series]
    rows = [[str(category), *(_value(column, n) for column in values)] for n, category in enumerate(plot.categories)]
    block = table_block([["", *names], *rows], path, title, box)
    if block is not None:
        yield Block("chart", block.text, path=path, items=block.items, caption=title, box=box)
    elif title:
        yield Block("chart", title, path=path, box=box)


def _value(column: Sequence[Any], number: int) -> str:
    value = column[number] if number < len(column) else None
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
