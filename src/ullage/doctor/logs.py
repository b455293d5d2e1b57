"""Find signatures in a file of any size, in one pass, in bounded memory and in time linear in its bytes.

All patterns are one RE2 expression that finds the lines worth a look; only these are asked which pattern it was. A
pattern that was seen MOST_HITS times is looked for no longer, so that a log of nothing but errors costs no more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import re2

from ullage.doctor.catalog import Signature
from ullage.doctor.finding import MOST_EVIDENCE, Evidence, Finding, evidence
from ullage.doctor.reading import Piece, pieces
from ullage.doctor.settings_files import Setting

MOST_HITS = 300
LONGEST_LINE = 8192
WINDOW = 200
"""Characters shown before and after a match in a line that is longer."""

MEMORY = 64 << 20

SETTING = r"\b(?:NIM|APP|ENABLE|RETRIEVER|RERANKER|NGC|NVIDIA)_[A-Z0-9_]{2,60}[\"']?\s{0,2}[=:]"
IMAGE = r"nvcr\.io/[\w./-]{3,120}:[\w.-]{1,60}"
GPU = r"\b(?:GRID [A-Z0-9]{2,8}-\d{1,3}[A-Z]\b|(?:NVIDIA |Tesla )?(?:A100|H100|H200|B200|L40S?|A10G?|V100|T4|L4)\b)"
HEALTHY = r"(?:→|->|=>|\bis|\() ?healthy\b"
_TOLD = (SETTING, IMAGE, GPU, HEALTHY)

_SETTING = re.compile(r"\b((?:NIM|APP|ENABLE|RETRIEVER|RERANKER|NGC|NVIDIA)_[A-Z0-9_]{2,60})[\"']?\s{0,2}[=:]\s{0,2}"
                      r"[\"'`]?([^\s\"'`,;)]{0,200})")
_IMAGE = re.compile(IMAGE)
_GPU = re.compile(r"GRID [A-Z0-9]{2,8}-\d{1,3}[A-Z]\b|(?:\d{1,2} ?[x×] ?)?(?:NVIDIA |Tesla )?"
                  r"(?:A100|H100|H200|B200|L40S?|A10G?|V100|T4|L4)\b(?:[ -][A-Z0-9]{2,8}){0,3}(?: ?\d{2,3} ?GB)?")


@dataclass(slots=True)
class Hits:
    count: int = 0
    first: list[Evidence] = field(default_factory=list)


@dataclass(slots=True)
class Scan:
    """What one file says: hits by pattern, and what it tells by the way. `lines` is how many it has."""

    hits: dict[str, Hits] = field(default_factory=dict)
    settings: list[Setting] = field(default_factory=list)
    images: list[tuple[str, int]] = field(default_factory=list)
    gpus: list[tuple[str, int]] = field(default_factory=list)
    healthy: list[Evidence] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Patterns:
    """`anyone` finds a line that some pattern of `texts` matches, `which` tells which."""

    texts: tuple[str, ...]
    anyone: Any
    which: Any


def scan(path: Path, source: str, signatures: Sequence[Signature]) -> Scan:
    """One pass over a file. Raises InvalidRequest when it cannot be read."""
    wanted = dict.fromkeys(p for s in signatures for p in (*s.any, *s.all, *s.unless))
    patterns = _compiled((*wanted, *_TOLD))
    found = Scan()
    for piece in pieces(path):
        patterns = _scan_piece(piece, source, patterns, found)
        if not patterns.texts:
            break
    return found


def _scan_piece(piece: Piece, source: str, patterns: _Patterns, found: Scan) -> _Patterns:
    data, line, counted, at = piece.data, piece.first_line, 0, 0
    while patterns.texts and (match := patterns.anyone.search(data, at)):
        start = max(data.rfind(b"\n", 0, match.start()) + 1, at)
        end = data.find(b"\n", match.start())
        end = len(data) if end < 0 else end
        if end - start > LONGEST_LINE:
            # A part of the line about the match; what follows in it is looked at again.
            start = max(start, match.start() - LONGEST_LINE // 4)
            end = min(end, start + LONGEST_LINE)
        line += data.count(b"\n", counted, start)
        counted = start
        full = _take(data[start:end], match.start() - start, line, source, patterns, found)
        if full:
            patterns = _compiled(tuple(text for text in patterns.texts if text not in full))
        # At least one byte on, also where a match has none of its own.
        at = max(end, match.start() + 1)
    return patterns


def _take(raw: bytes, near: int, line: int, source: str, patterns: _Patterns, found: Scan) -> set[str]:
    """Note what matches on a line; the patterns that have now been seen often enough."""
    full: set[str] = set()
    text = raw.decode("utf-8", errors="replace")
    shown = text if len(text) <= 2 * WINDOW else text[max(0, near - WINDOW):near + WINDOW]
    for number in patterns.which.Match(raw):
        pattern = patterns.texts[number]
        hits = found.hits.setdefault(pattern, Hits())
        hits.count += 1
        if pattern in _TOLD:
            _tell(pattern, text, line, source, found)
        elif len(hits.first) < MOST_EVIDENCE:
            hits.first.append(evidence(source, line, shown))
        if hits.count >= MOST_HITS:
            full.add(pattern)
    return full


def _tell(pattern: str, text: str, line: int, source: str, found: Scan) -> None:
    if pattern == SETTING:
        found.settings += [Setting(m[1], m[2], source, line) for m in _SETTING.finditer(text)]
    elif pattern == IMAGE:
        found.images += [(match[0], line) for match in _IMAGE.finditer(text)]
    elif pattern == GPU:
        found.gpus += [(match[0].strip(), line) for match in _GPU.finditer(text)]
    elif pattern == HEALTHY and len(found.healthy) < MOST_EVIDENCE * 2:
        found.healthy.append(evidence(source, line, text.strip(" -*\t\r")))


@lru_cache(maxsize=64)
def _compiled(texts: tuple[str, ...]) -> _Patterns:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = MEMORY
    which = re2.Set.SearchSet(options)
    for text in texts:
        which.Add(f"(?m){text}")
    if texts:
        which.Compile()
    return _Patterns(texts, re2.compile("(?m)" + "|".join(f"(?:{text})" for text in texts), options), which)


def log_findings(found: Scan, signatures: Iterable[Signature]) -> list[Finding]:
    """The signatures that a file bears."""
    return [signature.finding(_evidence(signature, found.hits), count=_count(signature, found.hits))
            for signature in signatures if _bears(signature, found.hits)]


def _bears(signature: Signature, hits: dict[str, Hits]) -> bool:
    return ((not signature.any or any(p in hits for p in signature.any)) and all(p in hits for p in signature.all)
            and not any(p in hits for p in signature.unless))


def _evidence(signature: Signature, hits: dict[str, Hits]) -> list[Evidence]:
    """One line of each pattern first, so that all of a signature is shown, then more of them."""
    lists = [hits[p].first for p in (*signature.all, *signature.any) if p in hits]
    first = [found[0] for found in lists if found]
    rest = [one for found in lists for one in found[1:]]
    return sorted(dict.fromkeys([*first, *rest][:MOST_EVIDENCE]), key=lambda e: e.line)


def _count(signature: Signature, hits: dict[str, Hits]) -> int:
    return max(hits[p].count for p in (*signature.all, *signature.any) if p in hits)
