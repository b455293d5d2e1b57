"""A document into passages that fit the embedder: along headings, paragraphs and sentences, never through a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ullage.ingest.document import Block, Document, one_line
from ullage.ingest.sentences import sentences
from ullage.models.tokenize import Tokenizer

HEADING_SHARE = 3
"""The heading line may take one third of a passage's tokens; beyond that its outer headings are left out."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One passage. `text` begins with the headings above it, joined by ` > `, and a table's caption."""

    text: str
    page: int
    path: tuple[str, ...]
    ordinal: int
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """What may not be cut: a sentence, a row, a list entry. `glue` joins it to the unit before."""

    text: str
    tokens: int
    kind: str
    glue: str


@dataclass(slots=True)
class _Section:
    """Consecutive blocks of one page under the same headings (and, for a table, with the same caption)."""

    page: int
    path: tuple[str, ...]
    caption: str
    blocks: list[Block] = field(default_factory=list)


def chunk(document: Document, tokenizer: Tokenizer, *, chunk_tokens: int, chunk_overlap: int) -> list[Piece]:
    """Passages of at most `chunk_tokens` tokens, headings included.

    Neighbours in a section share whole sentences or entries of up to `chunk_overlap` tokens; rows of a table say all
    they say alone and are not repeated. A heading that nothing follows is a passage of its own.
    """
    pieces: list[Piece] = []
    for section in _sections(document):
        prefix = _prefix(section, tokenizer, chunk_tokens // HEADING_SHARE)
        room = chunk_tokens - tokenizer.count(prefix)
        units = list(_units(section.blocks, tokenizer, room))
        for part in _packed(units, room, min(chunk_overlap, room // 2)):
            text = _joined(part)
            pieces.append(
                Piece(
                    f"{prefix}\n{text}" if prefix else text,
                    section.page,
                    section.path,
                    len(pieces),
                    tuple(dict.fromkeys(unit.kind for unit in part)),
                )
            )
    return pieces


def _sections(document: Document) -> Iterator[_Section]:
    """Headings only name what follows; one that nothing follows is kept as text of its own."""
    lone: Block | None = None
    for page in document.pages:
        section: _Section | None = None
        for block in page.blocks:
            if block.kind == "heading":
                if lone is not None and block.path[: len(lone.path)] != lone.path:
                    yield _Section(page.number, lone.path[:-1], "", [lone])
                lone = block
                continue
            lone = None
            if section is None or (section.path, section.caption) != (block.path, block.caption):
                if section is not None:
                    yield section
                section = _Section(page.number, block.path, block.caption)
            section.blocks.append(block)
        if section is not None:
            yield section
    if lone is not None:
        yield _Section(document.pages[-1].number, lone.path[:-1], "", [lone])


def _prefix(section: _Section, tokenizer: Tokenizer, limit: int) -> str:
    """As many headings as fit, the innermost always tried last to go."""
    for begin in range(len(section.path) + 1):
        lines = [" > ".join(section.path[begin:]), section.caption]
        text = "\n".join(line for line in lines if line)
        if tokenizer.count(text) <= limit:
            return text
    return ""


def _units(blocks: Sequence[Block], tokenizer: Tokenizer, room: int) -> Iterator[_Unit]:
    for block in blocks:
        texts = list(block.items) if block.items else sentences(block.text)
        glue = "\n" if block.items else " "
        for number, text in enumerate(texts):
            for part_number, part in enumerate(_cut(one_line(text), tokenizer, room)):
                first = number == 0 and part_number == 0
                yield _Unit(part, tokenizer.count(part), block.kind, "\n" if first else " " if part_number else glue)


def _cut(text: str, tokenizer: Tokenizer, room: int) -> Iterator[str]:
    """The text itself, or parts of at most `room` tokens where it is longer than a passage."""
    offsets = tokenizer.offsets(text)
    begin = 0
    for first in range(0, len(offsets), room):
        following = first + room
        end = offsets[following][0] if following < len(offsets) else len(text)
        part = text[begin:end].strip()
        if part:
            yield part
        begin = end


def _packed(units: Sequence[_Unit], room: int, overlap: int) -> Iterator[list[_Unit]]:
    """Greedy: as many units as fit, then on from the last few of them."""
    begin = 0
    while begin < len(units):
        end, used = begin, 0
        while end < len(units) and (end == begin or used + units[end].tokens <= room):
            used += units[end].tokens
            end += 1
        yield list(units[begin:end])
        if end == len(units):
            return
        back, shared = end, 0
        while back - 1 > begin and units[back - 1].kind != "table" and shared + units[back - 1].tokens <= overlap:
            back -= 1
            shared += units[back].tokens
        begin = back if shared + units[end].tokens <= room else end


def _joined(units: Sequence[_Unit]) -> str:
    return "".join((unit.glue if number else "") + unit.text for number, unit in enumerate(units))
