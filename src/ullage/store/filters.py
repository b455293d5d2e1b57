"""A filter against a collection's schema, and what the database is asked: built from the tree, never from the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ullage.errors import InvalidRequest
from ullage.store.filter_grammar import Condition, Filter, Joined, Negated, Value, invalid, parse_filter
from ullage.store.metadata import FILENAME, OWN, MetadataField, filterable, value_of

_ORDER = (">", ">=", "<", "<=")
_ARRAY = ("contains", "contains_all", "contains_any", "length")
ALLOWED: dict[str, tuple[str, ...]] = {
    "string": ("==", "=", "!=", "like", "in", "not in"),
    "datetime": ("==", "=", "!=", *_ORDER, "between", "before", "after"),
    **dict.fromkeys(("number", "integer", "float"), ("==", "=", "!=", *_ORDER, "between", "in")),
    "boolean": ("==", "=", "!="),
    "array": ("in", "includes", "does not include", "array_contains", "array_contains_all", "array_contains_any",
              "array_length"),
}
COLUMNS = {"filename": "document", "page_number": "page", "type": "type"}
"""Metadata that has a column of its own."""

HELD = "ullage"
"""A key of every stored metadata: which others there are (`has`), and how long lists are (`lengths`).

Milvus Lite, servers before 2.4 and later ones differ in what they make of a key that is not there, and only some can
tell a list's length. So both are written down.
"""
_OPPOSITE = {"==": "!=", "!=": "==", ">": "<=", "<=": ">", "<": ">=", ">=": "<"}


def filter_expression(text: str, fields: Sequence[MetadataField]) -> str:
    """The database's own expression for a filter in the contract's grammar; "" for an empty one.

    `fields` is the collection's schema; without one, any field may be asked. A passage without the field matches
    neither a condition nor its opposite. Raises InvalidRequest with the place of the fault.
    """
    if not text.strip():
        return ""
    return _written(_checked(parse_filter(text), text, fields), negated=False)


def fields_of(text: str) -> set[str]:
    """The names a filter asks for."""
    def names(part: Filter) -> set[str]:
        if isinstance(part, Condition):
            return {part.field}
        return names(part.part) if isinstance(part, Negated) else set().union(*map(names, part.parts))

    return names(parse_filter(text)) if text.strip() else set()


def held(metadata: dict[str, Any]) -> dict[str, Any]:
    """What goes under HELD for these metadata."""
    lengths = {name: len(value) for name, value in metadata.items() if isinstance(value, list)}
    return {"has": sorted(metadata), "lengths": lengths}


def _checked(part: Filter, text: str, fields: Sequence[MetadataField]) -> Filter:
    if isinstance(part, Negated):
        return Negated(_checked(part.part, text, fields))
    if isinstance(part, Joined):
        return replace(part, parts=tuple(_checked(inner, text, fields) for inner in part.parts))
    known = filterable(fields)
    field = known.get(part.field)
    if field is None and fields:
        raise invalid(text, part.at, f"there is no field {part.field!r}: this collection has {', '.join(known)}")
    return part if field is None else _fitted(part, field, text)


def _fitted(part: Condition, field: MetadataField, text: str) -> Condition:
    allowed = ALLOWED[field.type]
    if part.spelt not in allowed or (part.operator in _ARRAY) != (field.type == "array"):
        raise invalid(text, part.at, f"{part.spelt} is not for field {field.name!r} of type {field.type}: it takes "
                                     f"{', '.join(allowed)}")
    if part.operator == "length" or field in (FILENAME, OWN):
        return part
    one: Callable[[Value], Value] = lambda value: _value(part, field, value, text)  # noqa: E731
    if isinstance(part.value, tuple):
        return replace(part, value=tuple(one(value) for value in part.value))
    return replace(part, value=one(part.value))


def _value(part: Condition, field: MetadataField, value: Value, text: str) -> Value:
    """As it is kept, so that it compares; a number as a string, or the other way round, is refused."""
    kind = field.array_type if field.type == "array" else field.type
    strings = kind in ("string", "datetime")
    if isinstance(value, str) != strings or isinstance(value, bool) != (kind == "boolean"):
        raise invalid(text, part.at, f"field {field.name!r} is compared with a {kind}, not with {value!r}")
    try:
        item = MetadataField(name=field.name, type=kind or "string", user_defined=False)
        kept: Value = value_of(item, value)
    except ValueError as fault:
        raise invalid(text, part.at, f"value of field {field.name!r} {fault}") from None
    return kept


def _written(part: Filter, *, negated: bool) -> str:
    if isinstance(part, Negated):
        return _written(part.part, negated=not negated)
    if isinstance(part, Joined):
        how = part.how if not negated else {"and": "or", "or": "and"}[part.how]
        return _join(how, [_written(inner, negated=negated) for inner in part.parts])
    return _condition(part, negated=negated)


def _condition(part: Condition, *, negated: bool) -> str:
    """Without `in` (Lite knows it for columns alone), and with a negation only around single predicates."""
    name = _name(part.field)
    values = part.value if isinstance(part.value, tuple) else (part.value,)
    if part.operator == "length":
        comparison = _OPPOSITE[part.comparison] if negated else part.comparison
        return f"metadata[{_text(HELD)}][{_text('lengths')}][{_text(part.field)}] {comparison} {_literal(part.value)}"
    if part.operator in ("contains", "contains_all", "contains_any"):
        how = "or" if (part.operator == "contains_any") != negated else "and"
        asked = [f"{'not ' if negated else ''}json_contains({name}, {_literal(value)})" for value in values]
        return _present(part.field, _join(how, asked), negated)
    if part.operator == "in":
        asked = [f"{name} {'!=' if negated else '=='} {_literal(value)}" for value in values]
        return _present(part.field, _join("and" if negated else "or", asked), negated)
    if part.operator == "like":
        asked_like = f"{name} like {_literal(part.value)}"
        return _present(part.field, f"not ({asked_like})" if negated else asked_like, negated)
    comparison = _OPPOSITE[part.operator] if negated else part.operator
    return _present(part.field, f"{name} {comparison} {_literal(part.value)}", comparison == "!=")


def _present(field: str, asked: str, needed: bool) -> str:
    if not needed or field in COLUMNS:
        return f"({asked})"
    return f"(json_contains(metadata[{_text(HELD)}][{_text('has')}], {_text(field)}) and ({asked}))"


def _name(field: str) -> str:
    return COLUMNS.get(field) or f"metadata[{_text(field)}]"


def _join(how: str, parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({f' {how} '.join(parts)})"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _literal(value: Value | tuple[Value, ...]) -> str:
    if isinstance(value, tuple):
        raise InvalidRequest("a list cannot be compared: use in, or array_contains_all")
    return json.dumps(value, ensure_ascii=False)
