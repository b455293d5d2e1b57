"""Headers and footers: lines at a page's edge that its neighbours repeat, page numbers apart."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from ullage.ingest.readers.layout import Item
from ullage.ingest.readers.pdf_page import Line

EDGE = 0.1
"""Share of a page's height at its top and bottom where running headers and footers stand."""

LEAST_REPEATS = 3
SAME_HEIGHT = 8.0
"""Points to which a line's height is rounded."""

_NUMBER = re.compile(r"\d+")
_PAGE_NUMBER = re.compile(r"[-–—|\s]*(?:#|[ivxlc]{1,7})[-–—|\s]*|(?:page|seite|p\.|s\.)\s*#(?:\s*(?:/|of|von)\s*#)?",
                          re.IGNORECASE)


class _Leaf(Protocol):
    height: float
    items: list[Item]


L = TypeVar("L", bound=_Leaf)


class RunningLines:
    """Looks at `ahead` pages on either side: left and right pages may differ, and chapters change the header."""

    def __init__(self, ahead: int) -> None:
        self._ahead = ahead

    def dropped(self, leaves: Iterable[L]) -> Iterator[L]:
        """The pages in order without their running lines."""
        window: deque[tuple[L, frozenset[str]]] = deque()
        counts: Counter[str] = Counter()
        done = 0
        for leaf in leaves:
            keys = frozenset(_key(line) for line in _edge_lines(leaf))
            window.append((leaf, keys))
            counts.update(keys)
            if len(window) - done > self._ahead:
                yield _without(window[done][0], counts)
                done += 1
            if done > self._ahead:
                counts.subtract(window.popleft()[1])
                done -= 1
        for leaf, _ in list(window)[done:]:
            yield _without(leaf, counts)


def _without(leaf: L, counts: Counter[str]) -> L:
    running = {id(line) for line in _edge_lines(leaf) if counts[_key(line)] >= LEAST_REPEATS}
    leaf.items = [item for item in leaf.items if id(item) not in running]
    return leaf


def _edge_lines(leaf: _Leaf) -> Iterator[Line]:
    for item in leaf.items:
        if isinstance(item, Line) and (item.bottom > leaf.height * (1 - EDGE) or item.top < leaf.height * EDGE):
            yield item


def _key(line: Line) -> str:
    """What a line says, numbers apart, and how high it stands; a bare page number whatever its form."""
    text = _NUMBER.sub("#", line.text)
    if _PAGE_NUMBER.fullmatch(text):
        text = "#"
    return f"{text}@{round(line.bottom / SAME_HEIGHT)}"
