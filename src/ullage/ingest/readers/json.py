"""JSON: lists of like objects become tables, all else lines that name where a value stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ullage.errors import DocumentRefused
from ullage.ingest.document import Block, Headings, Page, one_line, page_of, table_block
from ullage.ingest.readers.rows import MOST_COLUMNS, ROWS_PER_BLOCK
from ullage.ingest.readers.source import Source
from ullage.ingest.readers.text import decode

DEEPEST = 100
DEEPEST_HEADING = 4
LEAST_ROWS = 2


def read_json(source: Source) -> Iterator[Page]:
    """Numbers stay as they are written. Raises DocumentRefused for what is no JSON or nests beyond sense."""
    text = decode(source.read(), source.name).strip()
    try:
        value = json.loads(text, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError:
        raise _too_deep(source.name) from None
    except ValueError as error:
        raise DocumentRefused(f"{source.name}: is not JSON ({error}); check where it comes from") from None
    try:
        yield page_of(1, _blocks(value, Headings(), (), 0))
    except _TooDeep:
        raise _too_deep(source.name) from None


class _TooDeep(Exception):
    pass


def _too_deep(name: str) -> DocumentRefused:
    return DocumentRefused(f"{name}: nests more than {DEEPEST} values inside each other; flatten it")


def _blocks(value: Any, headings: Headings, keys: tuple[str, ...], depth: int) -> Iterator[Block]:
    """Keys are headings down to DEEPEST_HEADING, below that they stand in the lines."""
    if depth > DEEPEST:
        raise _TooDeep
    if isinstance(value, dict):
        plain = {key: inner for key, inner in value.items() if not isinstance(inner, dict | list)}
        lines = tuple(f"{'.'.join((*keys, key))}: {_shown(inner)}" for key, inner in plain.items() if _shown(inner))
        if lines:
            yield Block("list", "\n".join(lines), path=headings.path, items=lines)
        for key, inner in value.items():
            if key in plain or not inner:
                continue
            if depth < DEEPEST_HEADING and one_line(key):
                heading = headings.enter(depth + 1, one_line(key))
                yield heading
                yield from _blocks(inner, Headings.under(heading.path), (), depth + 1)
            else:
                yield from _blocks(inner, headings, (*keys, key), depth + 1)
    elif isinstance(value, list):
        yield from _list(value, headings, keys, depth)
    elif _shown(value):
        yield Block("paragraph", ": ".join([*[".".join(keys)] * bool(keys), _shown(value)]), path=headings.path)


def _list(values: list[Any], headings: Headings, keys: tuple[str, ...], depth: int) -> Iterator[Block]:
    columns = list(dict.fromkeys(key for value in values if isinstance(value, dict) for key in value))
    flat = all(isinstance(value, dict) and not any(isinstance(v, dict | list) for v in value.values())
               for value in values)
    if flat and len(values) >= LEAST_ROWS and 1 < len(columns) <= MOST_COLUMNS:
        for begin in range(0, len(values), ROWS_PER_BLOCK):
            rows = [[_shown(value.get(key)) for key in columns] for value in values[begin : begin + ROWS_PER_BLOCK]]
            block = table_block([columns, *rows], headings.path)
            if block is not None:
                yield block
        return
    plain = [f"- {_shown(value)}" for value in values if not isinstance(value, dict | list) and _shown(value)]
    for begin in range(0, len(plain), ROWS_PER_BLOCK):
        items = tuple(plain[begin : begin + ROWS_PER_BLOCK])
        yield Block("list", "\n".join(items), path=headings.path, items=items)
    for number, value in enumerate(values, start=1):
        if isinstance(value, dict | list):
            yield from _blocks(value, headings, (*keys, str(number)) if keys else (), depth + 1)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else one_line(str(value))
