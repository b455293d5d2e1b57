"""Gather settings from flags, environment and file; remember where each value came from; refuse the rest."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ullage.errors import SettingsError
from ullage.settings.foreign import read
from ullage.settings.model import Service, Settings
from ullage.settings.names import NAMES, PREFIXES

FILE_VARIABLE = "ULLAGE_CONFIG"


@dataclass(frozen=True, slots=True)
class Effective:
    """The settings in force. `origins` maps each name to `default`, `file PATH`, `env NAME` or `flag`.

    `notes` say what became of each foreign name that was found, one line each: for the log.
    """

    settings: Settings
    origins: dict[str, str]
    notes: tuple[str, ...] = ()

    def foreign(self, name: str) -> str:
        """The foreign name under which a setting came; empty for our own."""
        variable = self.origins[name].removeprefix("env ")
        return variable if variable in NAMES else ""


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    service: Service | None = None,
    environ: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Effective:
    """Merge file < environment < flags. Raises SettingsError naming every fault at once, one per clause."""
    environ = os.environ if environ is None else environ
    faults: list[str] = []
    notes: list[str] = []
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")

    def take(name: str, value: Any, origin: str) -> None:
        values[name] = value
        origins[name] = origin

    path = file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None)
    for name, value in (_read_file(path) if path else {}).items():
        if name in Settings.model_fields:
            take(name, value, f"file {path}")
        else:
            faults.append(_unknown(name, f"in {path}", list(Settings.model_fields)))
    for variable, name, value in _from_environment(environ, service, faults, notes):
        if origins[name].startswith("env ") and values[name] != value:
            faults.append(f"{variable}={value} contradicts {origins[name].removeprefix('env ')}={values[name]}: "
                          "keep one of them")
        take(name, value, f"env {variable}")
    for name, value in (flags or {}).items():
        if name not in Settings.model_fields:
            faults.append(_unknown(name, "given as a flag", list(Settings.model_fields)))
        elif value is not None:
            take(name, value, "flag")
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults += [_fault(dict(item), origins) for item in error.errors()]
    if faults:
        raise SettingsError("; ".join(faults))
    return Effective(settings, origins, tuple(notes))


class _OneValueEach(yaml.SafeLoader):
    """Refuses a name that is given twice: YAML itself would let the last one win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_OneValueEach)  # noqa: S506 - a safe loader
    except FileNotFoundError:
        raise SettingsError(f"settings file {path} does not exist: give a YAML file of `name: value` lines") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise SettingsError(f"settings file {path}{where}: {problem}; write one `name: value` a line") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {path} holds a {type(content).__name__}: write `name: value` lines")
    return {str(name): value for name, value in content.items()}


def _from_environment(
    environ: Mapping[str, str], service: Service | None, faults: list[str], notes: list[str]
) -> list[tuple[str, str, str]]:
    """(variable, setting, value) of every variable that is ours or that we honour; our own names come last."""
    found: list[tuple[str, str, str]] = []
    ours: list[tuple[str, str, str]] = []
    for variable, value in sorted(environ.items()):
        if variable == FILE_VARIABLE:
            continue
        if variable in NAMES:
            # Compose files hand an unset variable on as an empty one.
            if value:
                reading = read(NAMES[variable], value, service)
                found += [(variable, name, converted) for name, converted in reading.pairs]
                faults += [reading.fault] if reading.fault else []
                notes += [reading.note] if reading.note else []
        elif variable.startswith("ULLAGE_"):
            name = variable.removeprefix("ULLAGE_").lower()
            if name in Settings.model_fields:
                ours.append((variable, name, value))
            else:
                known = [f"ULLAGE_{field.upper()}" for field in Settings.model_fields]
                faults.append(_unknown(variable, "in the environment", known))
        elif variable.startswith(PREFIXES):
            known = [*NAMES, *(f"ULLAGE_{field.upper()}" for field in Settings.model_fields)]
            faults.append(_unknown(variable, "in the environment", known))
    named = {name: (variable, value) for variable, name, value in ours}
    for variable, name, value in found:
        if name in named and named[name][1] != value:
            notes.append(f"{variable}={value} gives way to {named[name][0]}={named[name][1]}")
    return [item for item in found if item[1] not in named] + ours


def _unknown(name: str, where: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`ullage settings` lists all names"
    return f"unknown setting {name} {where}: {hint}"


def _fault(error: dict[str, Any], origins: dict[str, str]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    if str(error["type"]).startswith("byte_size"):
        message = "not a size: write bytes, or a number with its unit such as 700MiB"
    return f"{name}={error['input']!r} (from {origins.get(name, 'default')}): {message}"
