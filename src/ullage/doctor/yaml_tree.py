"""YAML of strangers as plain strings, lists and mappings that know their line. Nothing is built but these.

What a hostile file could cost is refused before it costs: size, depth, aliases that grow (the billion laughs) or turn
in a circle.
"""

from __future__ import annotations

from typing import Any

import yaml

LARGEST_BYTES = 4 << 20
DEEPEST = 64
MOST_NODES = 200_000
"""Counted with every alias written out."""


class YamlRefused(Exception):
    """`line` counts from 1, 0 where none is to blame."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Scalar(str):
    """A string as it stands in the file, and its line. `null` and `~` are the empty string."""

    __slots__ = ("line",)
    line: int

    def __new__(cls, value: str, line: int = 0) -> Scalar:
        made = super().__new__(cls, value)
        made.line = line
        return made


def read_tree(text: str) -> list[Any]:
    """Every document of a YAML text. Raises YamlRefused."""
    if len(text) > LARGEST_BYTES:
        raise YamlRefused(f"more than {LARGEST_BYTES} bytes of YAML are not read")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _within_depth(text, loader)
        return [_built(node) for node in yaml.compose_all(text, Loader=loader) if node is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise YamlRefused(" ".join(str(problem).split()), mark.line + 1 if mark else 0) from None
    except (RecursionError, ValueError) as error:
        raise YamlRefused(" ".join(str(error).split())) from None


def read_plain(text: str) -> Any:
    """The one document of a YAML text, of plain types. Raises YamlRefused."""
    found = read_tree(text)
    return _plain(found[0]) if found else None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else str(value)


def _within_depth(text: str, loader: Any) -> None:
    """By events, which cost no stack: only then may nodes be composed."""
    depth = 0
    for nodes, event in enumerate(yaml.parse(text, Loader=loader)):
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            depth -= 1
        if depth > DEEPEST:
            raise YamlRefused(f"nested deeper than {DEEPEST} levels", _line(event))
        if nodes > MOST_NODES:
            raise YamlRefused(f"more than {MOST_NODES} nodes", _line(event))


def _line(event: Any) -> int:
    """Counted from 1; 0 where the parser does not tell."""
    return event.start_mark.line + 1 if event.start_mark else 0


def _built(root: yaml.Node) -> Any:
    if _size(root, {}, set()) > MOST_NODES:
        raise YamlRefused(f"its aliases come to more than {MOST_NODES} nodes")
    return _value(root)


def _size(node: yaml.Node, known: dict[int, int], open_: set[int]) -> int:
    """Nodes with aliases written out; each node is counted once, so this is quick where building is not."""
    if id(node) in open_:
        raise YamlRefused("an alias stands inside of its own anchor", _line(node))
    if id(node) in known:
        return known[id(node)]
    open_.add(id(node))
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_size(part, known, open_) for part in node.value)
    elif isinstance(node, yaml.MappingNode):
        size += sum(_size(key, known, open_) + _size(value, known, open_) for key, value in node.value)
    open_.discard(id(node))
    known[id(node)] = size
    return size


def _value(node: Any) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_value(part) for part in node.value]
    if isinstance(node, yaml.MappingNode):
        return _mapping(node)
    empty = node.style is None and node.value in ("null", "~", "Null", "NULL")
    return Scalar("" if empty else node.value, node.start_mark.line + 1)


def _mapping(node: yaml.MappingNode) -> dict[str, Any]:
    """Later keys win, as compose does it; what `<<` brings in gives way to what is written."""
    made: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        if key.value == "<<":
            brought = _value(value)
            for part in brought if isinstance(brought, list) else [brought]:
                if isinstance(part, dict):
                    merged = {**part, **merged}
            continue
        made.pop(key.value, None)
        made[Scalar(key.value, key.start_mark.line + 1)] = _value(value)
    return {**merged, **made}
