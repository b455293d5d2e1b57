"""Gather settings from flags, environment and file; remember where each value came from; refuse the rest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ullage.errors import SettingsError
from ullage.settings.environment import FILE_VARIABLE as FILE_VARIABLE
from ullage.settings.environment import Environment, read_environment, unknown
from ullage.settings.file import read_file
from ullage.settings.foreign import one_line, shown
from ullage.settings.model import Service, Settings
from ullage.settings.names import NAMES


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings in force. `origins` maps each name to `default`, `file PATH`, `env NAME` or `flag`.

    `foreign` maps a setting to the foreign name it came under. `notes` say what became of each foreign name that was
    found, one line each: for the log. `overruled` are foreign variables that a flag overruled: who hands flags to a
    child as environment hands these on empty.
    """

    settings: Settings
    origins: dict[str, str]
    notes: tuple[str, ...] = ()
    foreign: dict[str, str] = field(default_factory=dict)
    overruled: tuple[str, ...] = ()


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    service: Service | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Effective:
    """Merge file < environment < flags. Raises SettingsError naming every fault at once, one per clause."""
    environ = os.environ if environ is None else environ
    gathered = _Gathered()
    if path := file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None):
        gathered.take_file(path)
    found = read_environment(environ, service)
    gathered.faults += found.faults
    gathered.take_environment(found)
    gathered.take_flags(flags or {})
    return gathered.effective(found)


@dataclass
class _Gathered:
    """What was found so far; later sources overrule earlier ones."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=lambda: dict.fromkeys(Settings.model_fields, "default"))
    faults: list[str] = field(default_factory=list)

    def take(self, name: str, value: Any, origin: str) -> None:
        self.values[name] = value
        self.origins[name] = origin

    def take_file(self, path: Path) -> None:
        try:
            written = read_file(path)
        except SettingsError as error:
            self.faults.append(error.message)
            return
        for name, value in written.items():
            if name in Settings.model_fields:
                self.take(name, value, f"file {path}")
            elif name.upper() in NAMES:
                self.faults.append(f"{name} is a name for the environment, not for {path}: set it there")
            else:
                self.faults.append(unknown(name, f"in {path}", list(Settings.model_fields)))

    def take_environment(self, found: Environment) -> None:
        """Our own names, then those of others; a shared name gives way, any other may only say the same."""
        said = {setting: (variable, f"{variable}={shown(variable, value)}") for variable, setting, value in found.own}
        for variable, setting, value in found.own:
            self.take(setting, value, f"env {variable}")
        for variable in sorted(found.foreign, key=lambda name: (NAMES[name].shared, name)):
            for setting, value in found.foreign[variable].pairs:
                if setting not in said:
                    said[setting] = (variable, found.foreign[variable].said)
                    self.take(setting, value, f"env {variable}")
                elif not NAMES[variable].shared and _differ(setting, self.values[setting], value):
                    self.faults.append(f"{found.foreign[variable].said} contradicts {said[setting][1]}: both set "
                                       f"{setting}, keep one of them")

    def take_flags(self, flags: Mapping[str, Any]) -> None:
        for name, value in flags.items():
            if name in Settings.model_fields:
                if value is not None:
                    self.take(name, value, "flag")
            elif name.upper() in NAMES:
                self.faults.append(f"{name} is a name for the environment, not for a flag: set {name.upper()} there")
            else:
                self.faults.append(unknown(name, "given as a flag", list(Settings.model_fields)))

    def effective(self, found: Environment) -> Effective:
        """The settings, when nothing is wrong with any of them. Raises SettingsError."""
        valid: dict[str, Any] = {}
        for name, value in self.values.items():
            try:
                valid[name] = _meaning(name, value)
            except ValueError as error:
                self.faults.append(_fault(name, value, self.origins[name], error))
        broken = self.values.keys() - valid.keys()
        try:
            settings = Settings.model_construct(**valid)
        except RuntimeError:
            raise SettingsError("; ".join([*self.faults, "there is no home folder: set HOME, or state_dir and "
                                                         "cache_dir"])) from None
        self.faults += [text for names, text in settings.contradictions() if not broken & {*names}]
        if self.faults:
            raise SettingsError("; ".join(self.faults))
        foreign = {name: variable for name, origin in self.origins.items()
                   if (variable := origin.removeprefix("env ")) in NAMES}
        overruled = tuple(variable for variable, reading in found.foreign.items()
                          if any(self.origins[name] == "flag" for name, _ in reading.pairs))
        notes = tuple(self._note(variable, found) for variable in found.foreign)
        return Effective(Settings.model_validate(self.values), self.origins, notes, foreign, overruled)

    def _note(self, variable: str, found: Environment) -> str:
        reading = found.foreign[variable]
        if reading.note:
            return reading.note
        stays = [pair for pair in reading.pairs if not _differ(pair[0], self.values[pair[0]], pair[1])]
        goes = [f"{name}={shown(name, str(self.values[name]))} ({self.origins[name]})"
                for name, value in reading.pairs if (name, value) not in stays]
        parts = ["sets " + ", ".join(f"{name}={shown(name, value)}" for name, value in stays)] if stays else []
        parts += ["gives way to " + ", ".join(goes)] if goes else []
        return f"{reading.said} {' and '.join(parts)}"


@cache
def _alone(name: str) -> type[BaseModel]:
    """A model of this one setting, so that it can be judged without the others."""
    info = Settings.model_fields[name]
    fields: dict[str, Any] = {name: (info.annotation, info)}
    return create_model(f"Only_{name}", __config__=ConfigDict(extra="forbid"), **fields)


def _meaning(name: str, value: Any) -> Any:
    """The value as the setting takes it. Raises ValueError."""
    try:
        return getattr(_alone(name).model_validate({name: value}), name)
    except OverflowError:
        raise ValueError("not a size") from None


def _differ(name: str, one: Any, other: Any) -> bool:
    """Whether two values mean different things. One that means nothing differs from none: it is refused by itself."""
    try:
        return bool(_meaning(name, one) != _meaning(name, other))
    except ValueError:
        return False


def _fault(name: str, value: Any, origin: str, error: ValueError) -> str:
    message = str(error)
    if isinstance(error, ValidationError):
        [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        message = str(first["msg"]).removeprefix("Value error, ")
        if str(first["type"]).startswith("byte_size"):
            message = "not a size"
    if message == "not a size":
        message = "not a size: write bytes, or a number with its unit such as 700MiB"
    return f"{name}={shown(name, repr(value))} (from {origin}): {one_line(message)}"
