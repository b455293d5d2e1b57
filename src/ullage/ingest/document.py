"""A file after reading, whatever its format: pages of blocks under headings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

Kind = Literal["heading", "paragraph", "table", "list", "image", "chart"]
"""`image` is text that was seen in a picture, `chart` a chart's title, axes, labels and values."""

KINDS: tuple[str, ...] = get_args(Kind)

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in points from the page's upper left corner."""

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
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """What only a vision service can read: its PNG bytes, and before which of the page's blocks it stands.

    `whole`: it shows the whole page, which has no text layer or a broken one. `caption` is what the page says of it.
    `bare`: it is of one shade all over.
    """

    png: bytes
    place: int = 0
    path: tuple[str, ...] = ()
    box: Box | None = None
    whole: bool = False
    caption: str = ""
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Rendering:
    """How a page looks, as PNG, and its `width` and `height` in the points that boxes on it are given in."""

    png: bytes = field(repr=False)
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Page:
    """`number` counts from 1; a format without pages is one page. A long page may come in several parts.

    `width` and `height` are in points, 0 where a format has no sheets. `thumbnail` is a small JPEG, or nothing.
    """

    number: int
    blocks: tuple[Block, ...]
    width: float = 0.0
    height: float = 0.0
    pictures: tuple[Picture, ...] = ()
    thumbnail: bytes = field(default=b"", repr=False)


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

    @classmethod
    def under(cls, path: Sequence[str]) -> Headings:
        """Where the headings of `path` are open, one a level."""
        headings = cls()
        headings._open = list(enumerate(path, start=1))
        return headings

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(text for _, text in self._open)

    def enter(self, level: int, text: str) -> Block:
        """The heading's block. Headings of the same or a deeper level end here."""
        self._open = [(depth, title) for depth, title in self._open if depth < level]
        self._open.append((level, text))
        return Block("heading", text, level=level, path=self.path)


def page_of(
    number: int, items: Iterable[Block | Picture], width: float = 0.0, height: float = 0.0
) -> Page:
    """A page of blocks in order, with each picture at the place where it came."""
    blocks: list[Block] = []
    pictures: list[Picture] = []
    for item in items:
        if isinstance(item, Picture):
            pictures.append(replace(item, place=len(blocks)))
        else:
            blocks.append(item)
    return Page(number, tuple(blocks), width, height, tuple(pictures))


def around(boxes: Iterable[Box | None]) -> Box | None:
    """The smallest box that holds all of them; None when one has no place."""
    left, top, right, bottom = [], [], [], []
    for box in boxes:
        if box is None:
            return None
        left.append(box[0])
        top.append(box[1])
        right.append(box[2])
        bottom.append(box[3])
    return (min(left), min(top), max(right), max(bottom)) if left else None


def clean(text: str) -> str:
    """Text that may be stored: NFC, no control characters or lone surrogates, runs of blanks as one."""
    # Few letters are different, many are the same: each is looked at once.
    hidden: dict[int, str | None] = {ord(letter): None for letter in set(text) if not _shows(letter)}
    kept = unicodedata.normalize("NFC", text.translate(hidden | {ord("\t"): " "}))
    lines = (_SPACES.sub(" ", line).strip() for line in kept.split("\n"))
    return "\n".join(lines).strip("\n")


def _shows(letter: str) -> bool:
    return letter in "\n\t" or (unicodedata.category(letter) not in _NOT_TEXT and letter not in _INVISIBLE)


def one_line(text: str) -> str:
    return " ".join(clean(text).split())


def table_block(
    rows: Sequence[Sequence[str]], path: tuple[str, ...], caption: str = "", box: Box | None = None
) -> Block | None:
    """A table from its cells, header first; None when it holds no row.

    Each row becomes a sentence that can be found, read and quoted alone: `name — column: value; column: value`.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    cells = [row for row in cells if any(row)]
    if len(cells) < 2:
        return None
    header, body = cells[0], cells[1:]
    items = tuple(sentence for row in body if (sentence := row_sentence(header, row)))
    if not items:
        return None
    return Block("table", _markdown(cells), path=path, items=items, caption=one_line(caption), box=box)


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
