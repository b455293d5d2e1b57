"""Markdown (CommonMark with tables)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Headings, Page, Picture, clean, one_line, page_of, table_block
from ullage.ingest.readers.html import blocks_of_html
from ullage.ingest.readers.source import Source
from ullage.ingest.readers.text import decode

DEEPEST = 100
"""Levels of lists and quotations. The parser drops what lies deeper without a word."""

_FRONT_MATTER = re.compile(r"\A---\n.*?\n(?:---|\.\.\.)\n", re.DOTALL)


def read_markdown(source: Source) -> Iterator[Page]:
    text = _FRONT_MATTER.sub("", decode(source.read(), source.name))
    tokens = MarkdownIt("commonmark", {"maxNesting": DEEPEST}).enable("table").parse(text)
    if any(token.level >= DEEPEST - 1 for token in tokens):
        raise DocumentRefused(f"{source.name}: nests more than {DEEPEST} lists and quotations inside each other; "
                              "flatten it")
    yield page_of(1, _blocks(tokens, source))


def _blocks(tokens: list[Token], source: Source) -> Iterator[Block | Picture]:
    headings = Headings()
    position = 0
    while position < len(tokens):
        token = tokens[position]
        end = position + 1
        if token.nesting == 1 and token.type in ("heading_open", "table_open", *_LISTS):
            end = _end_of(tokens, position)
        inside = tokens[position:end]
        if token.type == "heading_open":
            title = one_line(_text(inside))
            if title:
                yield headings.enter(int(token.tag[1:]), title)
        elif token.type == "table_open":
            block = table_block(list(_rows(inside)), headings.path)
            if block is not None:
                yield block
        elif token.type in _LISTS:
            items = tuple(_items(inside))
            if items:
                yield Block("list", "\n".join(items), path=headings.path, items=items)
        elif token.type == "html_block":
            yield from blocks_of_html(token.content, headings, source)
        elif token.type in ("inline", "fence", "code_block"):
            paragraph = clean(_text([token]))
            if paragraph:
                yield Block("paragraph", paragraph, path=headings.path)
        position = end


_LISTS = ("bullet_list_open", "ordered_list_open")


def _end_of(tokens: list[Token], begin: int) -> int:
    """The position after the token that closes the one at `begin`."""
    depth = 0
    for position in range(begin, len(tokens)):
        depth += tokens[position].nesting
        if depth == 0:
            return position + 1
    return len(tokens)


def _text(tokens: list[Token]) -> str:
    """What a reader sees: link texts, image descriptions, code as it is; no markup."""
    parts: list[str] = []
    for token in tokens:
        if token.type == "inline":
            parts.append(_text(token.children or []))
        elif token.type in ("softbreak", "hardbreak"):
            parts.append("\n" if token.type == "hardbreak" else " ")
        elif token.type in ("text", "code_inline", "fence", "code_block", "image"):
            parts.append(token.content)
    return "".join(parts)


def _rows(tokens: list[Token]) -> Iterator[list[str]]:
    row: list[str] = []
    for token in tokens:
        if token.type == "tr_open":
            row = []
        elif token.type == "inline":
            row.append(_text([token]))
        elif token.type == "tr_close":
            yield row


def _items(tokens: list[Token]) -> Iterator[str]:
    """Entries of a list, numbered as the reader sees them; a list inside an entry gives entries of its own."""
    counters: list[int | None] = []
    waiting = ""
    for token in tokens:
        if token.type in _LISTS:
            start = token.attrGet("start")
            counters.append(int(start or 1) if token.type.startswith("ordered") else None)
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            counters.pop()
        elif token.type == "list_item_open":
            number = counters[-1]
            waiting = "- " if number is None else f"{number}. "
            counters[-1] = None if number is None else number + 1
        elif token.type in ("inline", "fence", "code_block"):
            text = one_line(_text([token]))
            if text:
                yield waiting + text
                waiting = ""
