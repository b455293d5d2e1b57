"""A file after reading, whatever its format: pages of blocks under headings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["heading", "paragraph", "table", "list"]

_SPACES = re.compile(r"[^\S\n]+")
_NOT_TEXT = {"Cc", "Cs", "Co", "Cn"}
_INVISIBLE = frozenset("\u00ad\u200b\ufeff")


@dataclass(frozen=True, slots=True)
class Block:
    """`path` are the headings above, outermost first; a heading's own text is the last of its path.

    `level` is a heading's depth from 1. `items` are the parts that may not be cut: a table's rows, each a sentence of
    its own that carries its header cells, or a list's entries. `text` is the whole; of a table, in Markdown.
    """

    kind: Kind
    text: str
    level: int = 0
    path: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """`number` counts from 1; a format without pages is one page."""

    number: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """`warnings` say in one line each what could not be read."""

    name: str
    pages: tuple[Page, ...]
    warnings: tuple[str, ...] = ()


class Headings:
    """The headings above the place where a reader is."""

    def __init__(self) -> None:
        self._open: list[tuple[int, str]] = []

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(text for _, text in self._open)

    def enter(self, level: int, text: str) -> Block:
        """The heading's block. Headings of the same or a deeper level end here."""
        self._open = [(depth, title) for depth, title in self._open if depth < level]
        self._open.append((level, text))
        return Block("heading", text, level=level, path=self.path)


def clean(text: str) -> str:
    """Text that may be stored: NFC, no control characters or lone surrogates, runs of blanks as one."""
    kept = "".join(" " if c == "\t" else c for c in text if _shows(c))
    lines = (_SPACES.sub(" ", line).strip() for line in unicodedata.normalize("NFC", kept).split("\n"))
    return "\n".join(lines).strip("\n")


def _shows(letter: str) -> bool:
    return letter in "\n\t" or (unicodedata.category(letter) not in _NOT_TEXT and letter not in _INVISIBLE)


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def table_block(rows: Sequence[Sequence[str]], path: tuple[str, ...], caption: str = "") -> Block | None:
    """A table from its cells, header first; None when it holds no row.

    Each row becomes a sentence that can be found, read and quoted alone: `name — column: value; column: value`.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if len(cells) < 2:
        return None
    header, body = cells[0], cells[1:]
    items = tuple(sentence for row in body if (sentence := row_sentence(header, row)))
    return Block("table", _markdown(cells), path=path, items=items, caption=one_line(caption)) if items else None


def row_sentence(header: Sequence[str], row: Sequence[str]) -> str:
    """One row as a sentence. Columns without a name give their bare value, empty cells nothing."""
    named = [
        f"{header[n]}: {value}" if n < len(header) and header[n] else value
        for n, value in enumerate(row)
        if n and value
    ]
    if not row or not row[0]:
        return "; ".join(named)
    return f"{row[0]} — {'; '.join(named)}" if named else row[0]


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    width = max(len(row) for row in rows)
    lines = ["| " + " | ".join([*_escaped(row), *[""] * (width - len(row))]) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * width, *lines[1:]])


def _escaped(row: Iterable[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in row]
