"""What every command shares: the global options, and the settings they lead to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from ullage.errors import SettingsError
from ullage.settings import Effective, Service, Settings, load

SECRETS = frozenset(name for name, info in Settings.model_fields.items() if "SecretStr" in str(info.annotation))


@dataclass(frozen=True, slots=True)
class Invocation:
    """`given` are the `--set NAME=VALUE` pairs."""

    config: Path | None = None
    given: dict[str, str] = field(default_factory=dict)

    def load(self, *, service: Service | None = None, **flags: Any) -> Effective:
        """The settings in force; a command's own flag beats `--set`."""
        own = {name: value for name, value in flags.items() if value is not None}
        return load({**self.given, **own}, service=service, file=self.config)


def invocation(context: typer.Context) -> Invocation:
    found = context.find_object(Invocation)
    return found if found is not None else Invocation()


def parse_given(pairs: Sequence[str]) -> dict[str, str]:
    """`["name=value"]` as a mapping. Raises SettingsError for a pair without `=` and for a name given twice."""
    given: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        name = name.strip().lower().replace("-", "_")
        if not separator or not name:
            raise SettingsError(f"--set {pair}: write --set NAME=VALUE")
        if name in given:
            raise SettingsError(f"--set {name} is given twice: keep one of them")
        if name in SECRETS:
            raise SettingsError(f"--set {name} would show its value to everybody in the list of processes: "
                                f"set ULLAGE_{name.upper()}, or write it into a file")
        given[name] = value
    return given
