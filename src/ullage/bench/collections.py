"""Read the classic SMART test collections, Cranfield and MED, from a folder the user has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ullage.errors import InvalidRequest

NAMES = ("cranfield", "med")
CRANFIELD_GAINS = {1: 4, 2: 3, 3: 2, 4: 1}
"""Grade 1 is the best; 5 and -1 are not relevant."""


@dataclass(frozen=True, slots=True)
class TestCollection:
    """`documents` and `queries` map ids to text; `gains` maps a query id to document ids and gains above 0."""

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    gains: dict[str, dict[str, int]]


def read_collection(name: str, folder: Path) -> TestCollection:
    """Raises InvalidRequest for an unknown name or a folder without the collection's files."""
    if name not in NAMES:
        raise InvalidRequest(f"collection {name!r} is not known: choose {' or '.join(NAMES)}")
    return _cranfield(folder) if name == "cranfield" else _med(folder)


def _cranfield(folder: Path) -> TestCollection:
    queries = [fields.get("W", "") for _, fields in _records(folder / "cran.qry")]
    gains: dict[str, dict[str, int]] = {}
    for line in _read(folder / "cranqrel").splitlines():
        if line.strip():
            query, document, grade = line.split()[:3]
            gain = CRANFIELD_GAINS.get(int(grade), 0)
            if gain:
                gains.setdefault(query, {})[document] = gain
    return TestCollection(
        name="cranfield",
        documents={i: fields.get("W", "") for i, fields in _records(folder / "cran.all.1400")},
        # The qrels count queries in file order, not by their .I numbers.
        queries={str(position): text for position, text in enumerate(queries, start=1)},
        gains=gains,
    )


def _med(folder: Path) -> TestCollection:
    gains: dict[str, dict[str, int]] = {}
    for line in _read(folder / "MED.REL").splitlines():
        if line.strip():
            query, _, document, _ = line.split()[:4]
            gains.setdefault(query, {})[document] = 1
    return TestCollection(
        name="med",
        documents={i: fields.get("W", "") for i, fields in _records(folder / "MED.ALL")},
        queries={i: fields.get("W", "") for i, fields in _records(folder / "MED.QRY")},
        gains=gains,
    )


def _records(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """(id, field letter -> text with white space folded) of a SMART file."""
    for record in re.split(r"^\.I\s+", _read(path), flags=re.MULTILINE)[1:]:
        number, _, body = record.partition("\n")
        parts = re.split(r"^\.([A-Z])\s*$", body, flags=re.MULTILINE)
        fields = {letter: " ".join(text.split()) for letter, text in zip(parts[1::2], parts[2::2], strict=True)}
        yield number.strip(), fields


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError:
        raise InvalidRequest(f"{path} cannot be read: --data must name the folder with {path.name}") from None
