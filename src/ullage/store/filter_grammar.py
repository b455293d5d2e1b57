"""Filters as people and programs write them: text to a tree, or the place of the fault.

    content_metadata["site"] == "yard" and (content_metadata["year"] between 2019 and 2023
        or array_contains(content_metadata["tags"], "pump"))

Operators: `== = != > >= < <= like between...and before after in "not in" includes "does not include"`,
`"x" in content_metadata["tags"]`, `array_contains(f, v)`, `array_contains_all(f, [...])`,
`array_contains_any(f, [...])`, `array_length(f) >= n`, `and or not ( )`. Values are strings, numbers, true and false,
and lists of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ullage.errors import InvalidRequest

Value = str | int | float | bool
Operator = Literal["==", "!=", ">", ">=", "<", "<=", "like", "in", "contains", "contains_all", "contains_any", "length"]
MOST_CHARACTERS = 16_384
MOST_DEPTH = 40
MOST_ITEMS = 1_000

_COMPARISONS: dict[str, Operator] = {"=": "==", "==": "==", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<="}
_ARRAY_CALLS: dict[str, Operator] = {"array_contains": "contains", "array_contains_all": "contains_all",
                                     "array_contains_any": "contains_any"}
_TOKEN = re.compile(
    r"""(?P<blank>\s+)|(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\b)"""
    r"""|(?P<word>[A-Za-z_]\w*)|(?P<sign>==|!=|>=|<=|[=<>()\[\],])""",
    re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


@dataclass(frozen=True, slots=True)
class Condition:
    """`spelt` is the operator as it was written, `at` the character of the filter (from 0) where the field stands.

    `comparison` belongs to `length` alone. The value of `in` and of `contains_...` is a list.
    """

    field: str
    operator: Operator
    value: Value | tuple[Value, ...]
    spelt: str
    at: int
    comparison: Operator = "=="


@dataclass(frozen=True, slots=True)
class Joined:
    how: Literal["and", "or"]
    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Negated:
    part: Filter


Filter = Condition | Joined | Negated


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int

    @property
    def word(self) -> str:
        return self.text.lower() if self.kind == "word" else ""


def invalid(text: str, at: int, fault: str) -> InvalidRequest:
    """In the words that clients of the replaced stack look for, with the place."""
    near = text[max(0, at - 20) : at + 20]
    return InvalidRequest(f"Invalid filter expression: {fault} at character {at + 1}, near {near!r} "
                          f"Details: [{fault!r}]")


def parse_filter(text: str) -> Filter:
    """Raises InvalidRequest with the place of the first fault."""
    if len(text) > MOST_CHARACTERS:
        raise invalid(text[:60], 0, f"has {len(text)} characters, {MOST_CHARACTERS} at most")
    reader = _Reader(text, _tokens(text))
    found = reader.either(0)
    if reader.now.kind != "end":
        raise reader.wants("and, or, or the end")
    return found


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise invalid(text, at, f"unexpected {text[at]!r}")
        if match.lastgroup != "blank":
            found.append(_Token(str(match.lastgroup), match.group(), at))
        at = match.end()
    return [*found, _Token("end", "", len(text))]


class _Reader:
    def __init__(self, text: str, tokens: Sequence[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._place = 0

    @property
    def now(self) -> _Token:
        return self._tokens[self._place]

    def wants(self, what: str) -> InvalidRequest:
        token = self.now
        found = f"found {token.text[:40]!r}" if token.kind != "end" else "found the end"
        return invalid(self._text, token.at, f"expected {what}, {found}")

    def either(self, depth: int) -> Filter:
        parts = [self.both(depth)]
        while self._took("or"):
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else Joined("or", tuple(parts))

    def both(self, depth: int) -> Filter:
        parts = [self.one(depth)]
        while self._took("and"):
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else Joined("and", tuple(parts))

    def one(self, depth: int) -> Filter:
        if depth >= MOST_DEPTH:
            raise invalid(self._text, self.now.at, f"nested deeper than {MOST_DEPTH}")
        if self._took("not"):
            return Negated(self.one(depth + 1))
        if self._took("("):
            inner = self.either(depth + 1)
            self._need(")")
            return inner
        if self.now.word in _ARRAY_CALLS:
            return self._array_call()
        if self.now.word == "array_length":
            return self._array_length()
        if self.now.word == "content_metadata":
            return self._condition()
        if self.now.kind in ("text", "number") or self.now.word in ("true", "false"):
            value = self._value()
            self._need("in")
            name, at = self._field()
            return Condition(name, "contains", value, "in", at)
        raise self.wants('content_metadata["..."], not, ( or a function')

    def _array_call(self) -> Condition:
        spelt = self._next().word
        self._need("(")
        name, at = self._field()
        self._need(",")
        operator = _ARRAY_CALLS[spelt]
        value = self._value() if operator == "contains" else self._list()
        self._need(")")
        return Condition(name, operator, value, spelt, at)

    def _array_length(self) -> Condition:
        self._next()
        self._need("(")
        name, at = self._field()
        self._need(")")
        if self.now.text not in _COMPARISONS:
            raise self.wants("a comparison")
        comparison = _COMPARISONS[self._next().text]
        token = self.now
        value = self._value()
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise invalid(self._text, token.at, "expected a whole number from 0")
        return Condition(name, "length", value, "array_length", at, comparison)

    def _condition(self) -> Filter:
        name, at = self._field()
        spelt = self.now.text.lower()
        if self.now.text in _COMPARISONS:
            self._next()
            return Condition(name, _COMPARISONS[spelt], self._value(), spelt, at)
        if self._took("like"):
            return Condition(name, "like", self._string(), "like", at)
        if self._took("in"):
            return Condition(name, "in", self._list(), "in", at)
        if self._took("not"):
            self._need("in")
            return Negated(Condition(name, "in", self._list(), "not in", at))
        if self._took("between"):
            low = self._value()
            self._need("and")
            return Joined("and", (Condition(name, ">=", low, "between", at),
                                  Condition(name, "<=", self._value(), "between", at)))
        if self._took("before"):
            return Condition(name, "<", self._value(), "before", at)
        if self._took("after"):
            return Condition(name, ">", self._value(), "after", at)
        if self._took("includes"):
            return Condition(name, "contains", self._value(), "includes", at)
        if self._took("does"):
            self._need("not")
            self._need("include")
            return Negated(Condition(name, "contains", self._value(), "does not include", at))
        if self.now.word == "is":
            raise invalid(self._text, self.now.at, "IS NULL is not supported: ask for a value")
        raise self.wants("an operator")

    def _field(self) -> tuple[str, int]:
        at = self.now.at
        if self.now.word != "content_metadata":
            raise self.wants('content_metadata["..."]')
        self._next()
        self._need("[")
        name = self._string()
        self._need("]")
        return name, at

    def _list(self) -> tuple[Value, ...]:
        self._need("[")
        items = [self._value()]
        while self._took(","):
            items.append(self._value())
            if len(items) > MOST_ITEMS:
                raise invalid(self._text, self.now.at, f"a list has more than {MOST_ITEMS} items")
        self._need("]")
        return tuple(items)

    def _string(self) -> str:
        if self.now.kind != "text":
            raise self.wants("a string")
        return str(self._value())

    def _value(self) -> Value:
        token = self.now
        if token.word in ("true", "false"):
            return self._next().word == "true"
        if token.kind == "number":
            self._next()
            return self._numeric(token)
        if token.kind == "text":
            self._next()
            return self._unquoted(token)
        raise self.wants("a value")

    def _numeric(self, token: _Token) -> int | float:
        number = float(token.text) if set(token.text) & set(".eE") else int(token.text)
        if abs(number) > 2**63 - 1:
            raise invalid(self._text, token.at, "the number is too large")
        return number

    def _unquoted(self, token: _Token) -> str:
        """Without quotes and escapes. What no database could take as text is refused here."""
        found, letters = [], iter(enumerate(token.text[1:-1], start=token.at + 1))
        for at, letter in letters:
            if letter == "\\":
                _, escaped = next(letters)
                if escaped not in _ESCAPES:
                    raise invalid(self._text, at, f"unknown escape \\{escaped}")
                found.append(_ESCAPES[escaped])
            elif letter < " " or "\ud800" <= letter <= "\udfff" or letter == "\x7f":
                raise invalid(self._text, at, f"control character {letter!r} in a string")
            else:
                found.append(letter)
        return "".join(found)

    def _took(self, what: str) -> bool:
        if what in (self.now.word, self.now.text if self.now.kind == "sign" else ""):
            self._place += 1
            return True
        return False

    def _need(self, what: str) -> None:
        if not self._took(what):
            raise self.wants(repr(what))

    def _next(self) -> _Token:
        token = self.now
        self._place += 1
        return token
