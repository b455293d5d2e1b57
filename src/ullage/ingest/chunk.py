"""A document into passages that fit the embedder: along headings, paragraphs and sentences, never through a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ullage.ingest.document import Block, Box, Document, Page, around, one_line
from ullage.ingest.sentences import sentences
from ullage.models.tokenize import Tokenizer

HEADING_SHARE = 3
"""The heading line may take one third of a passage's tokens; beyond that its outer headings are left out."""

NAME_SHARE = 4
"""A row that is longer than a passage begins each of its parts with its name, if that takes no more than a fourth."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One passage. `text` begins with the headings above it, joined by ` > `, and a table's caption.

    `box` is where its blocks stand on the page of `size` (width, height), None where the format has no places.
    """

    text: str
    page: int
    path: tuple[str, ...]
    ordinal: int
    kinds: tuple[str, ...]
    box: Box | None = None
    size: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class _Unit:
    """What may not be cut: a sentence, a row, a list entry. `glue` joins it to the unit before."""

    text: str
    tokens: int
    kind: str
    glue: str
    box: Box | None


@dataclass(slots=True)
class _Section:
    """Consecutive blocks of one page under the same headings (and, for a table, with the same caption)."""

    page: int
    size: tuple[float, float]
    path: tuple[str, ...]
    caption: str
    blocks: list[Block] = field(default_factory=list)


def chunk(document: Document, tokenizer: Tokenizer, *, chunk_tokens: int, chunk_overlap: int) -> list[Piece]:
    """All passages of a document; see Chunker."""
    chunker = Chunker(tokenizer, chunk_tokens=chunk_tokens, chunk_overlap=chunk_overlap)
    pieces = [piece for page in document.pages for piece in chunker.feed(page)]
    return [*pieces, *chunker.finish()]


class Chunker:
    """Passages of at most `chunk_tokens` tokens, headings included, page after page as they come.

    Neighbours in a section share whole sentences or entries of up to `chunk_overlap` tokens; rows of a table say all
    they say alone and are not repeated. A heading that nothing follows is a passage of its own.
    """

    def __init__(self, tokenizer: Tokenizer, *, chunk_tokens: int, chunk_overlap: int) -> None:
        self._tokenizer = tokenizer
        self._chunk_tokens = chunk_tokens
        self._chunk_overlap = chunk_overlap
        self._ordinal = 0
        self._lone: Block | None = None
        self._last = Page(1, ())

    def feed(self, page: Page) -> Iterator[Piece]:
        self._last = page
        for section in self._sections(page):
            yield from self._pieces(section)

    def finish(self) -> Iterator[Piece]:
        """Call it after the last page."""
        if self._lone is not None:
            yield from self._pieces(self._alone(self._lone))
            self._lone = None

    def _sections(self, page: Page) -> Iterator[_Section]:
        """Headings only name what follows; one that nothing follows is kept as text of its own."""
        section: _Section | None = None
        for block in page.blocks:
            if block.kind == "heading":
                if self._lone is not None and block.path[: len(self._lone.path)] != self._lone.path:
                    if section is not None:
                        yield section
                        section = None
                    yield self._alone(self._lone)
                self._lone = block
                continue
            self._lone = None
            if section is None or (section.path, section.caption) != (block.path, block.caption):
                if section is not None:
                    yield section
                section = _Section(page.number, (page.width, page.height), block.path, block.caption)
            section.blocks.append(block)
        if section is not None:
            yield section

    def _alone(self, heading: Block) -> _Section:
        size = (self._last.width, self._last.height)
        return _Section(self._last.number, size, heading.path[:-1], "", [heading])

    def _pieces(self, section: _Section) -> Iterator[Piece]:
        prefix = self._prefix(section)
        room = self._chunk_tokens - self._tokenizer.count(prefix)
        units = list(_units(section.blocks, self._tokenizer, room))
        for part in self._packed(units, prefix, room):
            yield Piece(
                _text(prefix, part),
                section.page,
                section.path,
                self._ordinal,
                tuple(dict.fromkeys(unit.kind for unit in part)),
                around(unit.box for unit in part),
                section.size,
            )
            self._ordinal += 1

    def _prefix(self, section: _Section) -> str:
        """As many headings as fit, the innermost always tried last to go."""
        for begin in range(len(section.path) + 1):
            lines = [" > ".join(section.path[begin:]), section.caption]
            text = "\n".join(line for line in lines if line)
            if self._tokenizer.count(text) <= self._chunk_tokens // HEADING_SHARE:
                return text
        return ""

    def _packed(self, units: Sequence[_Unit], prefix: str, room: int) -> Iterator[list[_Unit]]:
        """Greedy: as many units as fit, then on from the last few of them."""
        overlap = min(self._chunk_overlap, room // 2)
        begin = 0
        while begin < len(units):
            end, used = begin, 0
            while end < len(units) and (end == begin or used + units[end].tokens <= room):
                used += units[end].tokens
                end += 1
            # Some tokenizers make more tokens of a joined text than of its parts.
            while end - begin > 1 and self._tokenizer.count(_text(prefix, units[begin:end])) > self._chunk_tokens:
                end -= 1
            yield list(units[begin:end])
            if end == len(units):
                return
            back, shared = end, 0
            while back - 1 > begin and units[back - 1].kind != "table" and shared + units[back - 1].tokens <= overlap:
                back -= 1
                shared += units[back].tokens
            begin = back if shared + units[end].tokens <= room else end


def _units(blocks: Sequence[Block], tokenizer: Tokenizer, room: int) -> Iterator[_Unit]:
    for block in blocks:
        texts = list(block.items) if block.items else sentences(block.text)
        glue = "\n" if block.items else " "
        for number, text in enumerate(texts):
            for part_number, (part, tokens) in enumerate(_cut(one_line(text), tokenizer, room, block.kind)):
                first = number == 0 and part_number == 0
                yield _Unit(part, tokens, block.kind, "\n" if first else " " if part_number else glue, block.box)


def _cut(text: str, tokenizer: Tokenizer, room: int, kind: str) -> Iterator[tuple[str, int]]:
    """The text itself with its tokens, or parts of at most `room` tokens where it is longer than a passage."""
    offsets = tokenizer.offsets(text)
    if len(offsets) <= room:
        if offsets:
            yield text, len(offsets)
        return
    if kind == "table":
        yield from _cut_row(text, tokenizer, room)
        return
    begin = 0
    for first in range(0, len(offsets), room):
        following = first + room
        end = offsets[following][0] if following < len(offsets) else len(text)
        part = text[begin:end].strip()
        if part:
            yield part, tokenizer.count(part)
        begin = end


def _cut_row(text: str, tokenizer: Tokenizer, room: int) -> Iterator[tuple[str, int]]:
    """A row too long for a passage is cut between its cells, and each part says again whose row it is."""
    name, dash, rest = text.partition(" — ")
    head = f"{name} — " if dash and tokenizer.count(f"{name} — ") <= room // NAME_SHARE else ""
    kept = rest if head else text
    for cells in _cells_that_fit(kept.split("; "), tokenizer, room - tokenizer.count(head)):
        part = head + cells
        yield part, tokenizer.count(part)


def _cells_that_fit(cells: Sequence[str], tokenizer: Tokenizer, room: int) -> Iterator[str]:
    held = ""
    for cell in cells:
        joined = f"{held}; {cell}" if held else cell
        if tokenizer.count(joined) <= room:
            held = joined
            continue
        if held:
            yield held
        *whole, held = [part for part, _ in _cut(cell, tokenizer, room, "paragraph")] or [""]
        yield from whole
    if held:
        yield held


def _text(prefix: str, units: Sequence[_Unit]) -> str:
    joined = "".join((unit.glue if number else "") + unit.text for number, unit in enumerate(units))
    return f"{prefix}\n{joined}" if prefix else joined
