"""Headers and footers: lines at a page's edge that its neighbours repeat, or that count the pages as they do."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Protocol, TypeVar

from ullage.ingest.readers.layout import Item
from ullage.ingest.readers.pdf_page import Line

EDGE = 0.1
"""Share of a page's height at its top and bottom where running headers and footers stand."""

EDGE_COUNTED = 0.13
"""The same for lines that count the pages."""

LEAST_REPEATS = 3
SURE_SHARE = 0.45
"""Of the pages looked at, as left and right ones may differ. A line that fewer repeat is told by the gap between it and
the text from a word that ends some pages by chance."""

LEAST_GAP = 1.0
"""Times the line's height."""

NOT_TALLER = 1.05
"""Times the height of most lines of the page: a chapter's title may count the pages too."""

LONGEST_NUMBERED = 80
"""Letters of a line whose page number alone tells that it runs, whatever else it says."""

SAME_HEIGHT = 8.0
"""Points to which a line's height is rounded."""

_NUMBER = re.compile(r"\d+")
_COUNTED = re.compile(r"(?:(\d{1,4})\s|.*\s(\d{1,4})$)")
_PAGE_NUMBER = re.compile(r"[-–—|\s]*(?:#|[ivxlc]{1,7})[-–—|\s]*|(?:page|seite|p\.|s\.)\s*#(?:\s*(?:/|of|von)\s*#)?",
                          re.IGNORECASE)


class _Leaf(Protocol):
    number: int
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
            keys = frozenset(key for line in _edge_lines(leaf) for key in _keys(line, leaf))
            window.append((leaf, keys))
            counts.update(keys)
            if len(window) - done > self._ahead:
                yield _without(window[done][0], counts, len(window))
                done += 1
            if done > self._ahead:
                counts.subtract(window.popleft()[1])
                done -= 1
        for leaf, _ in list(window)[done:]:
            yield _without(leaf, counts, len(window))


def _without(leaf: L, counts: Counter[str], pages: int) -> L:
    repeated = {id(line): max((counts[key] for key in _keys(line, leaf)), default=0) for line in _edge_lines(leaf)}
    likely = {name for name, count in repeated.items() if count >= LEAST_REPEATS}
    text = [item for item in leaf.items if id(item) not in likely]
    running = {id(line) for line in _edge_lines(leaf) if id(line) in likely
               and (repeated[id(line)] >= SURE_SHARE * pages or _stands_apart(line, text))}
    kept = [item for item in leaf.items if id(item) not in running]
    # A page on which nothing else is written keeps them: what shows something is not empty.
    leaf.items = kept or [item for item in leaf.items if isinstance(item, Line) and not _is_number(item)]
    return leaf


def _is_number(line: Line) -> bool:
    return _PAGE_NUMBER.fullmatch(_NUMBER.sub("#", line.text)) is not None


def _stands_apart(line: Line, text: list[Item]) -> bool:
    gaps = (max(item.bottom - line.top, line.bottom - item.top) for item in text)
    return min(gaps, default=line.size) >= LEAST_GAP * line.size


def _edge_lines(leaf: _Leaf) -> Iterator[Line]:
    for item in leaf.items:
        if isinstance(item, Line) and _at_edge(item, leaf, EDGE_COUNTED):
            yield item


def _at_edge(line: Line, leaf: _Leaf, share: float) -> bool:
    return line.bottom > leaf.height * (1 - share) or line.top < leaf.height * share


def _usual_size(leaf: _Leaf) -> float:
    return median([item.size for item in leaf.items if isinstance(item, Line)])


def _keys(line: Line, leaf: _Leaf) -> Iterator[str]:
    """What a line says, numbers apart, and how high it stands; a bare page number whatever its form. And where it
    begins or ends with a number, how far that is from the page's own: a manual's header names what stands below it."""
    height = round(line.bottom / SAME_HEIGHT)
    text = _NUMBER.sub("#", line.text)
    if _PAGE_NUMBER.fullmatch(text):
        text = "#"
    if _at_edge(line, leaf, EDGE):
        yield f"{text}@{height}"
    if len(line.text) > LONGEST_NUMBERED or line.size > NOT_TALLER * _usual_size(leaf):
        return
    counted = _COUNTED.match(line.text)
    if counted is not None:
        yield f"page {int(counted[1] or counted[2]) - leaf.number}@{height}"
