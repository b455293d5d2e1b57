"""A sentence in the languages that a report may be written in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

Language = Literal["en", "de"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


@dataclass(frozen=True, slots=True)
class Text:
    """`de` may be empty: then the English one is shown."""

    en: str
    de: str = ""

    def in_(self, language: Language) -> str:
        return self.de if language == "de" and self.de else self.en

    def filled(self, **values: Any) -> Text:
        """With `{name}` replaced by its value. Values are taken as they are: what they hold is no template."""
        return Text(_fill(self.en, values), _fill(self.de, values))

    def as_dict(self) -> dict[str, str]:
        return {"en": self.en, "de": self.de or self.en}


def _fill(text: str, values: dict[str, Any]) -> str:
    """One pass, so that a value with braces in it is never filled again."""
    parts = text.split("{")
    done = [parts[0]]
    for part in parts[1:]:
        name, brace, rest = part.partition("}")
        done.append(f"{values[name]}{rest}" if brace and name in values else f"{{{part}")
    return "".join(done)
