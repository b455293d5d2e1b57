"""Does a sentence speak of what the question names, or of something else that looks like it?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ullage.rag.question import Question
from ullage.rag.values import Value, key_of, names, stands, values

_LONG_NUMBER = re.compile(r"[0-9]{3,}")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a reader sees around a sentence: headings from the title inwards, the table's head, the sentences `earlier`
    and `later` in reading order. Most are never asked for the text around them, which is put together then."""

    headings: tuple[str, ...] = ()
    header: str = ""
    earlier: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    row: bool = False

    @property
    def before(self) -> str:
        return " ".join(self.earlier)

    @property
    def after(self) -> str:
        return " ".join(self.later)

    @property
    def previous(self) -> str:
        """The end of `before`: the two sentences that lead here; to a row of a table, its caption."""
        if self.row:
            return " ".join(text for text in self.earlier[-1:] if text.startswith("Table"))
        return " ".join(self.earlier[-2:])


def missing_subjects(question: Question, sentence: str, around: Surroundings) -> tuple[str, ...]:
    """Names, years and other values of the question that `sentence` is not about.

    A thing is spoken of when the sentence, its table's head or a heading has it. The text around may lend it too, but
    not to a sentence that has a thing of the same kind of its own: "Brannoch: 900 kW" is not about Little Hask, though
    Little Hask stands in the next line.
    """
    missing = [name.text for name in question.names if not named(name, sentence, around)]
    missing += [value.text for value in question.values if not valued(value, sentence, around)]
    return tuple(missing)


def named(name: Value, sentence: str, around: Surroundings) -> bool:
    near = " ".join((sentence, around.header, *around.headings))
    if _has(near, name.key):
        return True
    rivals = [other for other in names(sentence) if other.key not in name.key]
    return not rivals and _has(f"{around.before} {around.after}", name.key)


def valued(value: Value, sentence: str, around: Surroundings) -> bool:
    parts = value.key.split() if value.kind == "date" else [value.key]
    said = (sentence, around.header, *around.headings)
    if not _may_have((*said, around.previous), parts):
        return False
    near = key_of(" ".join(said))
    if all(_has(near, part) for part in parts):
        return True
    kinds = {"year", "date"} if value.kind in ("year", "date") else {value.kind}
    rivals = [other for other in values(sentence) if other.kind in kinds]
    return not rivals and all(_has(f"{near} {key_of(around.previous)}", part) for part in parts)


def _has(text: str, key: str) -> bool:
    """`key` as whole words, ignoring case; the parts of a longer name may stand apart."""
    return stands(key, text.lower())


def _may_have(texts: Sequence[str], keys: Sequence[str]) -> bool:
    """A number of three digits and more is written in digits, thousands' commas aside: texts without them cannot have
    it, and need not be read."""
    for key in keys:
        for run in _LONG_NUMBER.findall(key):
            if not any(run in text or ("," in text and run in text.replace(",", "")) for text in texts):
                return False
    return True
