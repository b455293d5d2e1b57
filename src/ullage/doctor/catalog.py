"""What the doctor knows, from data files: checks of files and machines, and signatures of logs.

A signature says which lines of a log betray it. More of them are read from a folder of the user's own.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import re2
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ullage.doctor.finding import Evidence, Finding, Severity
from ullage.doctor.redact import redacted
from ullage.doctor.text import Text
from ullage.errors import SettingsError
from ullage.settings.foreign import one_line

LARGEST_FILE_BYTES = 1 << 20
MOST_SIGNATURES = 1000
LONGEST_PATTERN = 400

ID = r"^[a-z0-9][a-z0-9-]{1,62}$"


class Words(BaseModel):
    """A sentence as the data files write it: in English alone, or in both languages."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    en: str = Field(min_length=1, max_length=2000)
    de: str = Field("", max_length=2000)

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return {"en": value} if isinstance(value, str) else value

    @property
    def text(self) -> Text:
        return Text(" ".join(self.en.split()), " ".join(self.de.split()))


class Entry(BaseModel):
    """What is known of one id: what it means, what to do, and where that is said."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str = Field(pattern=ID)
    area: str = Field("", max_length=40)
    severity: Severity = "error"
    weight: int = Field(50, ge=0, le=100)
    title: Words
    cause: Words
    remedy: Words
    source: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    explains: tuple[str, ...] = ()
    same_as: str = ""

    def finding(self, evidence: Iterable[Evidence], *, subject: str = "", count: int = 1,
                severity: Severity | None = None, **values: Any) -> Finding:
        """A finding of this id; `{name}` in its texts and commands are filled with `values`, without their secrets."""
        values = {name: redacted(str(value)) for name, value in values.items()}
        return Finding(
            id=self.id, severity=severity or self.severity, title=self.title.text.filled(**values),
            cause=self.cause.text.filled(**values), remedy=self.remedy.text.filled(**values),
            evidence=tuple(evidence), sources=self.source,
            commands=tuple(Text(command).filled(**values).en for command in self.commands),
            explains=self.explains, weight=self.weight, subject=redacted(subject), same_as=self.same_as, count=count,
        )


class Signature(Entry):
    """An entry that lines of a log betray: one of `any` (or there is none), and each of `all`, and none of `unless`.

    Patterns are RE2: no backreferences, no lookaround, and linear time whatever the line. They match in any case of
    letters, within one line.
    """

    any: tuple[str, ...] = ()
    all: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()

    @field_validator("any", "all", "unless")
    @classmethod
    def _sound(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            if not pattern or len(pattern) > LONGEST_PATTERN:
                raise ValueError(f"a pattern has 1 to {LONGEST_PATTERN} characters")
            try:
                empty = compiled(pattern).search(b"")
            except re2.error as error:
                raise ValueError(f"{one_line(pattern)} is no RE2 pattern: {one_line(str(error))}") from None
            if empty:
                raise ValueError(f"{one_line(pattern)} matches the empty line, and so every line")
        return patterns

    @model_validator(mode="after")
    def _says_something(self) -> Signature:
        if not self.any and not self.all:
            raise ValueError("write patterns under any or all")
        return self


def compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.case_sensitive = False
    return re2.compile(f"(?m){pattern}", options)


@dataclass(frozen=True, slots=True)
class Catalog:
    """`checks` by id, and the signatures of logs, those of the user last."""

    checks: dict[str, Entry]
    signatures: tuple[Signature, ...]

    def entry(self, id_: str) -> Entry | None:
        return self.checks.get(id_) or next((s for s in self.signatures if s.id == id_), None)

    @property
    def ids(self) -> list[str]:
        return sorted({*self.checks, *(signature.id for signature in self.signatures)})


def catalog(own: Path | None = None) -> Catalog:
    """What is shipped, and the YAML files of the folder `own`. A signature there replaces a shipped one of its id.

    Raises SettingsError naming the file and the fault.
    """
    checks, shipped = _shipped()
    if own is None:
        return Catalog(checks, shipped)
    added = {signature.id: signature for signature in _of_folder(own)}
    if clash := sorted(added.keys() & checks.keys()):
        raise SettingsError(f"{own}: {clash[0]} is the id of a built-in check: choose another")
    return Catalog(checks, (*(s for s in shipped if s.id not in added), *added.values()))


@cache
def _shipped() -> tuple[dict[str, Entry], tuple[Signature, ...]]:
    folder = importlib.resources.files("ullage.doctor") / "data"
    checks = [Entry.model_validate(one) for one in _load((folder / "checks.yaml").read_text(encoding="utf-8"))]
    signatures = [Signature.model_validate({"area": entry.name.removesuffix(".yaml"), **one})
                  for entry in sorted((folder / "signatures").iterdir(), key=lambda entry: entry.name)
                  if entry.name.endswith(".yaml") for one in _load(entry.read_text(encoding="utf-8"))]
    return {check.id: check for check in checks}, tuple(signatures)


def _load(text: str) -> Any:
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506


def _of_folder(folder: Path) -> list[Signature]:
    if not folder.is_dir():
        raise SettingsError(f"--signatures {folder}: there is no such folder")
    found: list[Signature] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        found += _of_file(path)
        if len(found) > MOST_SIGNATURES:
            raise SettingsError(f"--signatures {folder} holds more than {MOST_SIGNATURES} signatures: give fewer")
    if not found:
        raise SettingsError(f"--signatures {folder} holds no .yaml file with signatures")
    return found


def _of_file(path: Path) -> list[Signature]:
    from ullage.doctor.yaml_tree import YamlRefused, read_plain

    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise SettingsError(f"{path} is larger than {LARGEST_FILE_BYTES} bytes: split it")
        written = read_plain(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YamlRefused) as error:
        raise SettingsError(f"{path} cannot be read as signatures: {one_line(str(error))}") from None
    if not isinstance(written, list):
        raise SettingsError(f"{path} must be a list of signatures, one `- id: ...` for each")
    found = []
    for place, one in enumerate(written):
        try:
            found.append(Signature.model_validate({"area": path.stem[:40], **one} if isinstance(one, dict) else one))
        except ValidationError as error:
            [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
            where = ".".join(str(part) for part in first["loc"])
            raise SettingsError(f"{path}: signature {place + 1}: {where}: {one_line(str(first['msg']))}") from None
    return found
