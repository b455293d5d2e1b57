"""How well a page was read, against what stands on it: cells of tables, order of paragraphs, characters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Cells = Sequence[Sequence[str]]

_RULE = re.compile(r"\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?")
_SPLIT = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class CellScore:
    """Cells that are right, that were said, and that there are; empty cells count for nothing."""

    right: int = 0
    said: int = 0
    there: int = 0

    def __add__(self, other: CellScore) -> CellScore:
        return CellScore(self.right + other.right, self.said + other.said, self.there + other.there)

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.said + self.there) if self.said + self.there else 1.0


def cell_score(said: Sequence[Cells], there: Sequence[Cells]) -> CellScore:
    """A cell is right when its text stands in the right row and column; white space apart.

    Each true table is compared with the said one that fits it best. Rows are aligned first, so that one row too many
    costs its own cells only. A table that is none costs its cells.
    """
    left = list(range(len(said)))
    total = CellScore(0, sum(map(_filled, said)), sum(map(_filled, there)))
    for table in there:
        scores = [(_right(said[number], table), number) for number in left]
        if scores:
            best, number = max(scores)
            total += CellScore(best)
            left.remove(number)
    return total


def _filled(table: Cells) -> int:
    return sum(bool(_plain(cell)) for row in table for cell in row)


def _right(said: Cells, there: Cells) -> int:
    """The most cells that agree when rows may be left out on either side, but keep their order."""
    best = [0] * (len(there) + 1)
    for row in said:
        before = list(best)
        for number, true in enumerate(there, start=1):
            agree = sum(bool(_plain(a)) and _plain(a) == _plain(b) for a, b in zip(row, true, strict=False))
            best[number] = max(before[number], best[number - 1], before[number - 1] + agree)
    return best[-1]


def markdown_tables(text: str) -> list[list[list[str]]]:
    """Every table of pipes in a Markdown text, without columns that hold nothing."""
    tables: list[list[list[str]]] = []
    fresh = True
    for line in text.splitlines():
        if line.count("|") < 2:
            fresh = True
            continue
        if _RULE.fullmatch(line.strip()):
            continue
        if fresh:
            tables.append([])
            fresh = False
        cells = _SPLIT.split(line.strip().removeprefix("|").removesuffix("|"))
        tables[-1].append([cell.replace("\\|", "|").strip() for cell in cells])
    return [_without_empty_columns(table) for table in tables if len(table) > 1]


def _without_empty_columns(table: list[list[str]]) -> list[list[str]]:
    width = max(len(row) for row in table)
    kept = [n for n in range(width) if any(n < len(row) and row[n] for row in table)]
    return [[row[n] if n < len(row) else "" for n in kept] for row in table]


def order_errors(text: str, paragraphs: Sequence[str]) -> int:
    """Paragraphs that do not stand in the text whole, or not after the ones before them."""
    found = _plain(text)
    errors, at = 0, 0
    for paragraph in paragraphs:
        place = found.find(_plain(paragraph), at)
        if place < 0:
            errors += 1
        else:
            at = place + len(_plain(paragraph))
    return errors


def character_errors(said: str, there: str) -> tuple[int, int]:
    """Edits from what was said to what is there, and the characters that are there; white space as one blank."""
    a, b = " ".join(said.split()), " ".join(there.split())
    return _distance(a, b), len(b)


def _distance(a: str, b: str) -> int:
    """Levenshtein's, a row of the table at a time."""
    if not a or not b:
        return len(a) + len(b)
    codes = np.frombuffer(b.encode("utf-32-le"), np.uint32)
    steps = np.arange(len(b) + 1)
    row = steps.copy()
    for number, letter in enumerate(a, start=1):
        changed = row[:-1] + (codes != ord(letter))
        row = np.concatenate(([number], np.minimum(changed, row[1:] + 1)))
        # Insertions run along the row: each costs one more than the best before it.
        row = np.minimum.accumulate(row - steps) + steps
    return int(row[-1])


def _plain(text: str) -> str:
    """Letters as they compare: no white space, no Markdown signs, compatible forms as one."""
    return "".join(_letters(unicodedata.normalize("NFKC", text)))


def _letters(text: str) -> Iterator[str]:
    return (letter for letter in text if not letter.isspace() and letter not in "\u00ad*_\\#`")
