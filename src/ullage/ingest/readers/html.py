"""HTML: what a reader of the page reads, without its furniture."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import lxml.html
from lxml import etree

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Headings, Page, Picture, one_line, page_of, table_block
from ullage.ingest.readers.pictures import inline_picture
from ullage.ingest.readers.source import Source
from ullage.ingest.readers.text import decode

SKIPPED = frozenset(
    "script style nav footer noscript template svg math iframe object select button head header".split()
)
BREAKS = frozenset(
    "address article aside blockquote body caption dd details div dl dt fieldset figcaption figure form hr html main p "
    "pre section summary".split()
)
LISTS = ("ul", "ol")
HEADING_LEVELS = {f"h{level}": level for level in range(1, 7)}
DEEPEST = 250
"""Elements inside elements. libxml2 drops everything from 256 on without a word; real pages stay below 60."""

_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?([A-Za-z0-9_-]+)", re.IGNORECASE)


def read_html(source: Source) -> Iterator[Page]:
    """Raises DocumentRefused for bytes that are no text and for nesting beyond sense."""
    yield page_of(1, blocks_of_html(text_of_html(source.read(), source.name), Headings(), source))


def blocks_of_html(text: str, headings: Headings, source: Source) -> Iterator[Block | Picture]:
    """Blocks of a page or a fragment, under the headings that are open before it.

    Raises DocumentRefused for nesting beyond sense. Nothing the page points to is fetched.
    """
    parser = lxml.html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True)
    try:
        root = lxml.html.document_fromstring(text.encode("utf-8", "replace"), parser=parser)
    except etree.ParserError:
        return
    _check_depth(root, source.name)
    yield from _Walk(headings, source).blocks(root)


def _check_depth(root: Any, name: str) -> None:
    depth = 0
    for event, _ in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > DEEPEST:
            raise DocumentRefused(f"{name}: nests more than {DEEPEST} elements inside each other; "
                                  "save the page again from a browser")


def text_of_html(content: bytes, name: str) -> str:
    """The page's own charset counts where the bytes are not UTF-8."""
    declared = _CHARSET.search(content[:4096])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    if declared is not None:
        try:
            return content.decode(declared.group(1).decode("ascii"))
        except (UnicodeDecodeError, LookupError):
            pass
    return decode(content, name)


class _Walk:
    """Goes through the tree without recursion and gathers text until a block ends."""

    def __init__(self, headings: Headings, source: Source) -> None:
        self._headings = headings
        self._source = source
        self._parts: list[str] = []

    def blocks(self, root: Any) -> Iterator[Block | Picture]:
        walk = etree.iterwalk(root, events=("start", "end"))
        for event, element in walk:
            tag = element.tag if isinstance(element.tag, str) else ""
            if event == "start":
                if (tag in SKIPPED and not _heads_content(element)) or _hidden(element):
                    walk.skip_subtree()
                elif tag == "table" or tag in HEADING_LEVELS or tag in LISTS:
                    yield from self._paragraph()
                    yield from self._whole(element, tag)
                    walk.skip_subtree()
                else:
                    yield from self._enter(element, tag)
            else:
                if tag in BREAKS or tag in ("table", *LISTS):
                    yield from self._paragraph()
                self._parts.append(element.tail or "")
        yield from self._paragraph()

    def _enter(self, element: Any, tag: str) -> Iterator[Block | Picture]:
        if tag in BREAKS:
            yield from self._paragraph()
        if tag == "br":
            self._parts.append("\n")
        if tag == "img":
            self._parts.append(f" {element.get('alt')} " if element.get("alt") else "")
            picture = inline_picture(element.get("src") or "", self._source, self._headings.path)
            if picture is not None:
                yield from self._paragraph()
                yield picture
        self._parts.append(element.text or "")

    def _paragraph(self) -> Iterator[Block]:
        text = one_line("".join(self._parts))
        self._parts = []
        if text:
            yield Block("paragraph", text, path=self._headings.path)

    def _whole(self, element: Any, tag: str) -> Iterator[Block]:
        """A heading, table or list, read at once."""
        if tag in HEADING_LEVELS:
            title = one_line(_inner_text(element))
            if title:
                yield self._headings.enter(HEADING_LEVELS[tag], title)
        elif tag == "table":
            yield from _table(element, self._headings.path)
        else:
            items = tuple(_items(element, tag))
            if items:
                yield Block("list", "\n".join(items), path=self._headings.path, items=items)


def _heads_content(element: Any) -> bool:
    """A `header` inside an article holds its title; one outside is the page's furniture."""
    return element.tag == "header" and next(element.iterancestors("article", "main", "section"), None) is not None


def _hidden(element: Any) -> bool:
    return element.get("hidden") is not None or element.get("aria-hidden") == "true"


def _inner_text(element: Any) -> str:
    """Text of an element without what is skipped; a line break or an inner block separates words."""
    parts: list[str] = []
    walk = etree.iterwalk(element, events=("start", "end"))
    for event, inner in walk:
        if event == "start":
            if inner.tag in SKIPPED:
                walk.skip_subtree()
                continue
            parts.append(" " if inner.tag in BREAKS or inner.tag in ("br", "li", "td", "th") else "")
            parts.append(inner.text or "")
        elif inner is not element:
            parts.append(inner.tail or "")
    return "".join(parts)


def _items(element: Any, tag: str) -> Iterator[str]:
    """The outer entries, each with what is listed inside it."""
    for number, entry in enumerate(element.iterchildren("li"), start=1):
        text = one_line(_inner_text(entry))
        if text:
            yield f"{number}. {text}" if tag == "ol" else f"- {text}"


def _table(element: Any, path: tuple[str, ...]) -> Iterator[Block]:
    rows = [row for row in element.iterdescendants("tr") if next(row.iterancestors("table")) is element]
    cells = [list(_cells(row)) for row in rows]
    caption = next(element.iterchildren("caption"), None)
    title = "" if caption is None else one_line(_inner_text(caption))
    block = table_block(cells, path, title)
    if block is not None:
        yield block
        return
    text = one_line(_inner_text(element))
    if text:
        yield Block("paragraph", text, path=path)


def _cells(row: Any) -> Iterator[str]:
    """A cell over several columns is repeated in each."""
    for cell in row.iterchildren("td", "th"):
        span = cell.get("colspan", "1")
        text = one_line(_inner_text(cell))
        yield from [text] * (min(int(span), 50) if span.isdigit() and int(span) else 1)
