"""What a collection says of the metadata of its documents, and the one form in which values are kept.

Strings are stripped and in lower case, times are UTC to the second as `2024-01-31T10:00:00Z`: so a filter compares
what is written alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

FieldType = Literal["string", "datetime", "number", "integer", "float", "boolean", "array"]
ItemType = Literal["string", "number", "integer", "float", "boolean"]
RESERVED = ("type", "subtype", "location", "location_max_dimensions", "document", "ullage")
"""The first three are the contract's, the others are used by ourselves."""

LONGEST_STRING = 65_535
LONGEST_ARRAY = 1_000
_TRUTHS = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}
Scalar = str | int | float | bool


class MetadataField(BaseModel):
    """One field of a schema. `array_type` is that of an array's items, `max_length` of strings and arrays only."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r'^[^"\\\x00-\x1f]+$')]
    type: FieldType
    required: bool = False
    array_type: ItemType | None = None
    max_length: Annotated[int, Field(gt=0)] | None = None
    description: str | None = None
    user_defined: bool = True
    support_dynamic_filtering: bool = True

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.name in RESERVED and self.user_defined:
            raise ValueError(f"field name {self.name!r} is reserved: choose another")
        if (self.type == "array") != (self.array_type is not None):
            raise ValueError(f"field {self.name}: array_type goes with type array, and only with it")
        most = LONGEST_ARRAY if self.type == "array" else LONGEST_STRING if self.type == "string" else 0
        if self.max_length is not None and self.max_length > most:
            raise ValueError(f"field {self.name}: max_length {self.max_length} of a {self.type} may be {most} at most"
                             if most else f"field {self.name}: max_length is for strings and arrays")
        return self

    @property
    def longest(self) -> int:
        return self.max_length or (LONGEST_ARRAY if self.type == "array" else LONGEST_STRING)


FILENAME = MetadataField(name="filename", type="string", user_defined=False,
                         description="Name of the uploaded file")
HIDDEN = (
    MetadataField(name="page_number", type="integer", user_defined=False, description="Page, counted from 1"),
    MetadataField(name="start_time", type="integer", user_defined=False, description="Begin of a piece of sound"),
    MetadataField(name="end_time", type="integer", user_defined=False, description="End of a piece of sound"),
)
OWN = MetadataField(name="type", type="string", user_defined=False, description="text, table, chart or image")
"""What a filter may ask of every passage, whatever the schema."""


def shown(fields: Sequence[MetadataField]) -> list[dict[str, Any]]:
    """A schema as collections list it: with the file's name, without the hidden fields."""
    return [field.model_dump() for field in (*_others(fields), FILENAME)]


def filterable(fields: Sequence[MetadataField]) -> dict[str, MetadataField]:
    return {field.name: field for field in (*_others(fields), FILENAME, *HIDDEN, OWN)}


def _others(fields: Sequence[MetadataField]) -> list[MetadataField]:
    own = {FILENAME.name, *(field.name for field in HIDDEN)}
    return [field for field in fields if field.name not in own]


def repeated_names(fields: Sequence[MetadataField]) -> list[str]:
    names = [field.name for field in fields]
    return sorted({name for name in names if names.count(name) > 1})


def normalised(fields: Sequence[MetadataField], given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values as they are kept, and what is wrong with them. Without a schema everything is taken as it is."""
    own = {FILENAME.name, *(field.name for field in HIDDEN)}
    known = {field.name: field for field in _others(fields)}
    if not known:
        return _unschemed(given)
    faults = [f"unknown field {name!r}: the schema has {', '.join(known)}" for name in given if name not in known
              and name not in own]
    kept: dict[str, Any] = {}
    for name, field in known.items():
        value = given.get(name)
        if value is None or value == "":
            if field.required:
                faults.append(f"field {name!r} is required: give a {field.type}")
            continue
        try:
            kept[name] = value_of(field, value)
        except ValueError as fault:
            faults.append(f"field {name!r}: {fault}")
    return kept, faults


def _unschemed(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    faults = [f"field name {name!r} is reserved: choose another" for name in given if name in RESERVED]
    return {name: value for name, value in given.items() if name != FILENAME.name}, faults


def value_of(field: MetadataField, value: Any) -> Any:
    """One value as it is kept. Raises ValueError with what would be right."""
    if field.type != "array":
        return _scalar(field.type, value, field.longest)
    if not isinstance(value, list | tuple):
        raise ValueError(f"is {_said(value)}, give a list")
    if len(value) > field.longest:
        raise ValueError(f"has {len(value)} items, {field.longest} at most")
    assert field.array_type is not None
    return [_scalar(field.array_type, item, LONGEST_STRING) for item in value]


def _scalar(kind: str, value: Any, longest: int) -> Scalar:
    if kind == "string":
        return _string(value, longest)
    if kind == "datetime":
        return instant(value)
    if kind == "boolean":
        return _boolean(value)
    return _number(kind, value)


def _string(value: Any, longest: int) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {_said(value)}, give a string")
    text = value.strip().lower()
    if len(text) > longest:
        raise ValueError(f"has {len(text)} characters, {longest} at most")
    return text


def _boolean(value: Any) -> bool:
    known = _TRUTHS.get(str(value).strip().lower())
    if known is None:
        raise ValueError(f"is {_said(value)}, give true or false")
    return known


def _number(kind: str, value: Any) -> int | float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or (kind == "integer" and number != int(number)):
        raise ValueError(f"is {_said(value)}, give a {'whole number' if kind == 'integer' else 'number'}")
    if kind == "integer":
        return int(value) if isinstance(value, str | int) and "." not in str(value) and "e" not in str(value).lower() \
            else int(number)
    return value if isinstance(value, int) and kind == "number" else number


def instant(value: Any) -> str:
    """ISO 8601 in UTC, to the second; a time without a zone is UTC. Raises ValueError."""
    try:
        if isinstance(value, bool) or not isinstance(value, str):
            raise ValueError
        text = value.strip()
        when = datetime.combine(date.fromisoformat(text), time.min) if len(text) == 10 else datetime.fromisoformat(text)
        moved = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"is {_said(value)}, give a time as 2024-01-31T10:00:00Z") from None
    return moved.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def _said(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
