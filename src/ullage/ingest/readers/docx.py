"""Word files: python-docx opens the package, the body is walked in reading order.

Its own paragraph list leaves out content controls, text boxes and notes; here nothing that a reader sees is left out
but headers, footers and deleted text.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import Any

import docx
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.exceptions import PackageNotFoundError
from lxml import etree

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Headings, Page, Picture, clean, one_line, page_of, table_block
from ullage.ingest.readers.archive import archive, check_xml
from ullage.ingest.readers.pictures import MOST_INSIDE, picture_inside
from ullage.ingest.readers.source import Source

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_BLIP = "{http://schemas.openxmlformats.org/drawingml/2006/main}blip"
_EMBED = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}embed"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING = re.compile(r"heading (\d)|(title)$", re.IGNORECASE)
_CAPTION = re.compile(r"caption|beschriftung", re.IGNORECASE)
_BREAKING = (KeyError, ValueError, TypeError, AttributeError, IndexError, OSError, zipfile.BadZipFile, etree.LxmlError,
             NotImplementedError)


def read_docx(source: Source) -> Iterator[Page]:
    """One page: a Word file has no pages until a program lays it out."""
    with archive(source) as opened:
        check_xml(opened, source)
    try:
        with source.open() as stream:
            document = docx.Document(stream)
        yield page_of(1, _Walk(document, source).items())
    except PackageNotFoundError:
        raise DocumentRefused(f"{source.name}: is a broken Word file; save it again") from None
    except DocumentRefused:
        raise
    except _BREAKING as error:
        raise DocumentRefused(f"{source.name}: is a broken Word file ({type(error).__name__}); save it again") from None


class _Walk:
    def __init__(self, document: Any, source: Source) -> None:
        self._document = document
        self._source = source
        self._headings = Headings()
        self._styles = {style.style_id: style for style in document.styles}
        self._seen = 0
        self._caption = ""
        self._entries: list[str] = []

    def items(self) -> Iterator[Block | Picture]:
        yield from self._container(self._document.element.body)
        yield from self._list_end()
        yield from self._caption_end()
        for kind in (RELATIONSHIP_TYPE.FOOTNOTES, RELATIONSHIP_TYPE.ENDNOTES):
            yield from self._notes(kind)

    def _notes(self, kind: str) -> Iterator[Block]:
        for relation in self._document.part.rels.values():
            if relation.reltype != kind or relation.is_external:
                continue
            parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
            for note in etree.fromstring(relation.target_part.blob, parser):
                text = clean(" ".join(_text(paragraph) for paragraph in note.iter(f"{W}p")))
                if text and note.get(f"{W}type") is None:
                    yield Block("paragraph", text, path=self._headings.path)

    def _container(self, element: Any) -> Iterator[Block | Picture]:
        for child in element.iterchildren():
            if child.tag == f"{W}p":
                yield from self._paragraph(child)
            elif child.tag == f"{W}tbl":
                yield from self._list_end()
                yield from self._table(child)
            elif child.tag in (f"{W}sdt", f"{W}sdtContent", f"{W}ins", f"{W}customXml", f"{W}smartTag"):
                yield from self._container(child)

    def _paragraph(self, element: Any) -> Iterator[Block | Picture]:
        text = clean(_text(element))
        style = _style_name(element, self._styles)
        level = _level(element, style, self._styles)
        is_entry = bool(text) and not level and _is_entry(element, style)
        if not is_entry:
            yield from self._list_end()
        if text and level:
            yield from self._caption_end()
            yield self._headings.enter(level, one_line(text))
        elif is_entry:
            self._entries.append(f"- {one_line(text)}")
        elif text and _CAPTION.search(style):
            yield from self._caption_end()
            self._caption = one_line(text)
        elif text:
            yield from self._caption_end()
            yield Block("paragraph", text, path=self._headings.path)
        yield from self._pictures(element)
        for box in element.iter(f"{W}txbxContent"):
            if not any(above.tag == _FALLBACK for above in box.iterancestors()):
                yield from self._container(box)

    def _list_end(self) -> Iterator[Block]:
        entries, self._entries = tuple(self._entries), []
        if entries:
            yield Block("list", "\n".join(entries), path=self._headings.path, items=entries)

    def _caption_end(self) -> Iterator[Block]:
        """A caption that no table followed is text of its own."""
        caption, self._caption = self._caption, ""
        if caption:
            yield Block("paragraph", caption, path=self._headings.path)

    def _table(self, element: Any) -> Iterator[Block | Picture]:
        rows = [list(_cells(row)) for row in element.iterchildren(f"{W}tr")]
        block = table_block(rows, self._headings.path, self._caption)
        if block is not None:
            self._caption = ""
            yield block
        else:
            yield from self._caption_end()
            text = clean("\n".join(" ".join(cell for cell in row if cell) for row in rows))
            if text:
                yield Block("paragraph", text, path=self._headings.path)
        yield from self._pictures(element)

    def _pictures(self, element: Any) -> Iterator[Picture]:
        for blip in element.iter(_BLIP):
            part = self._document.part.related_parts.get(blip.get(_EMBED) or "")
            if part is None or self._seen >= MOST_INSIDE:
                continue
            self._seen += 1
            picture = picture_inside(part.blob, self._source, self._headings.path)
            if picture is not None:
                yield picture


def _text(paragraph: Any) -> str:
    """Text of a paragraph as shown: without deleted text, field codes and what stands in text boxes."""
    parts: list[str] = []
    walk = etree.iterwalk(paragraph, events=("start",))
    for _, element in walk:
        if element.tag in (f"{W}txbxContent", f"{W}del", f"{W}pPr", _FALLBACK):
            walk.skip_subtree()
        elif element.tag == f"{W}t":
            parts.append(element.text or "")
        elif element.tag == f"{W}tab":
            parts.append("\t")
        elif element.tag in (f"{W}br", f"{W}cr"):
            parts.append("\n")
        elif element.tag == f"{W}noBreakHyphen":
            parts.append("-")
    return "".join(parts)


def _cells(row: Any) -> Iterator[str]:
    """A cell over several columns is repeated in each, one that goes on from the row above is empty."""
    for cell in row.iter(f"{W}tc"):
        if next(cell.iterancestors(f"{W}tr")) is not row:
            continue
        text = one_line(" ".join(_text(paragraph) for paragraph in cell.iter(f"{W}p")))
        span = cell.find(f"{W}tcPr/{W}gridSpan")
        times = span.get(f"{W}val", "1") if span is not None else "1"
        yield from [text] * (min(int(times), 60) if times.isdigit() and int(times) else 1)


def _style_name(paragraph: Any, styles: dict[str, Any]) -> str:
    named = paragraph.find(f"{W}pPr/{W}pStyle")
    style = styles.get(named.get(f"{W}val", "")) if named is not None else None
    return str(style.name or "") if style is not None else ""


def _level(paragraph: Any, style: str, styles: dict[str, Any]) -> int:
    """1 for a title or first heading; 0 for text. A style of the author's own counts by its outline level."""
    match = _HEADING.match(style)
    if match:
        return int(match.group(1) or 1)
    named = paragraph.find(f"{W}pPr/{W}pStyle")
    own = styles.get(named.get(f"{W}val", "")) if named is not None else None
    for place in (paragraph, own.element if own is not None else None):
        outline = None if place is None else place.find(f"{W}pPr/{W}outlineLvl")
        said = "" if outline is None else outline.get(f"{W}val", "")
        if said.isdigit() and int(said) < 9:
            return int(said) + 1
    return 0


def _is_entry(paragraph: Any, style: str) -> bool:
    return paragraph.find(f"{W}pPr/{W}numPr") is not None or style.lower().startswith("list")
