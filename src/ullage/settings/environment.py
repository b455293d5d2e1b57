"""The environment as settings: our own names, those of the stack we replace, and what is near enough to be a slip."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from ullage.settings.foreign import Reading, one_line, read, unquoted
from ullage.settings.model import Service, Settings
from ullage.settings.names import NAMES, PREFIXES

FILE_VARIABLE = "ULLAGE_CONFIG"

CLOSE = 0.7
SURE = 0.9
"""How alike an `ENABLE_` name must be to one that is known to be taken for it: CLOSE when more than half of it begins
alike (ENABLE_RERANKING), else SURE. ENABLE_SELECTION, ENABLE_REDIS_CACHE or ENABLE_METRICS are names of others."""


@dataclass(frozen=True, slots=True)
class Environment:
    """`own` are (variable, setting, value) by our own names; `foreign` what each foreign name comes to, by variable."""

    own: list[tuple[str, str, str]] = field(default_factory=list)
    foreign: dict[str, Reading] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def read_environment(environ: Mapping[str, str], service: Service | None) -> Environment:
    """Everything in the environment that is ours to judge, in alphabetical order."""
    found = Environment()
    for variable, value in sorted(environ.items()):
        setting = variable.removeprefix("ULLAGE_").lower()
        if variable == FILE_VARIABLE:
            continue
        if variable in NAMES:
            # Compose files hand an unset variable on as an empty one.
            if unquoted(value):
                found.foreign[variable] = read(NAMES[variable], value, service)
        elif variable.startswith("ULLAGE_") and variable.isupper() and setting in Settings.model_fields:
            found.own.append((variable, setting, value))
        elif variable.startswith(PREFIXES) or _meant(variable):
            found.faults.append(unknown(variable, "in the environment", _known(variable)))
    found.faults.extend(reading.fault for reading in found.foreign.values() if reading.fault)
    return found


def _known(variable: str) -> list[str]:
    own = [f"ULLAGE_{name.upper()}" for name in Settings.model_fields]
    return own if variable.startswith("ULLAGE_") else [*NAMES, *own]


def _meant(variable: str) -> bool:
    """Whether an `ENABLE_` name is a slip of one that is known: the prefix alone is anybody's."""
    if not variable.startswith("ENABLE_"):
        return False
    given = variable.removeprefix("ENABLE_").replace("_", "")
    return any(_alike(given, name.removeprefix("ENABLE_").replace("_", ""))
               for name in NAMES if name.startswith("ENABLE_"))


def _alike(given: str, known: str) -> bool:
    ratio = difflib.SequenceMatcher(None, given, known).ratio()
    begin = next((i for i, (a, b) in enumerate(zip(given, known, strict=False)) if a != b), min(len(given), len(known)))
    return ratio >= SURE or (ratio >= CLOSE and 2 * begin > len(given))


def unknown(name: str, where: str, known: list[str]) -> str:
    """The refusal of a name nobody knows, with the nearest that somebody does."""
    folded = {one.lower(): one for one in known}
    near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    hint = f"did you mean {folded[near[0]]}?" if near else "`ullage settings` lists all names"
    return f"unknown setting {one_line(name)} {where}: {hint}"
