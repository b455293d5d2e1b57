"""Names of the stack we replace: each takes effect, has nothing to do here, or is refused with the reason.

Source: the documented environment of the NeMo Retriever NIMs (1.x and 2.x) and of the RAG Blueprint 2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ullage.settings.model import SERVICES, Service, Settings

Verdict = Literal["sets", "holds", "refused"]
Convert = Callable[[str], str]

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Name:
    """One name of another product.

    `sets` maps settings of ours to a conversion; `{service}` in a setting stands for the service being started.
    Without `sets`, `accepted` are the values whose wish is already fulfilled (None: any), `why` says how, and
    `instead` says what to do about any other value.
    """

    name: str
    sets: Mapping[str, Convert] = field(default_factory=dict)
    accepted: tuple[str, ...] | None = None
    why: str = ""
    instead: str = ""

    @property
    def verdict(self) -> Verdict:
        """What becomes of the name in general; single values may be refused."""
        if self.sets:
            return "sets"
        return "refused" if self.accepted == () else "holds"

    @property
    def effect(self) -> str:
        """One line for the table of names."""
        if self.sets:
            return "sets " + ", ".join(f"`{target.format(service='SERVICE')}`" for target in self.sets)
        if self.accepted is None:
            return self.why
        if not self.accepted:
            return f"{self.why}: {self.instead}"
        values = " or ".join(f"`{value}`" for value in self.accepted if value)
        return f"{values}: {self.why}; else refused: {self.instead}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one variable comes to: (setting, value) pairs, a note for the log, or a fault."""

    pairs: tuple[tuple[str, str], ...] = ()
    note: str = ""
    fault: str = ""


def read(known: Name, value: str, service: Service | None) -> Reading:
    """Judge one variable. `service` is None for a command that concerns several services."""
    said = f"{known.name}={_shown(known.name, value)}"
    value = value.strip().strip("\"'")
    if not known.sets:
        if known.accepted is None or value.lower() in known.accepted:
            return Reading(note=f"{said}: {known.why}")
        return Reading(fault=f"{said} is refused: {known.instead}")
    pairs = []
    for target, convert in known.sets.items():
        if "{service}" in target and service is None:
            own = [target.format(service=name) for name in SERVICES]
            ours = " or ".join(f"ULLAGE_{name.upper()}" for name in own if name in Settings.model_fields)
            return Reading(fault=f"{said} speaks to one service, and this command is for several: set {ours}")
        setting = target.format(service=service)
        if setting not in Settings.model_fields:
            return Reading(fault=f"{said} means nothing to {service}: leave it out")
        try:
            converted = convert(value)
        except ValueError as error:
            return Reading(fault=f"{said} is refused: {error}")
        if converted:
            pairs.append((setting, converted))
    if not pairs:
        return Reading(note=f"{said}: nothing to set")
    return Reading(tuple(pairs), f"{said} sets " + ", ".join(f"{setting}={converted}" for setting, converted in pairs))


def _shown(name: str, value: str) -> str:
    return "(not shown)" if any(word in name for word in ("KEY", "SECRET", "PASSWORD", "TOKEN")) else value


def same(value: str) -> str:
    return value


def base_url(value: str) -> str:
    """`host:port`, with or without scheme and `/v1`, as the blueprint writes it."""
    value = value if "://" in value or not value else f"http://{value}"
    return value.rstrip("/").removesuffix("/v1")


def port_of(value: str) -> str:
    return value.rsplit(":", 1)[-1]


def host_of(value: str) -> str:
    return value.rsplit(":", 1)[0].strip("[]") if ":" in value else ""


def lower(value: str) -> str:
    return value.lower()


def upper(value: str) -> str:
    return value.upper()


def log_format(value: str) -> str:
    """NIM: JSON lines or not; 2.x: pretty, json or compact."""
    known = {"json": "json", "pretty": "pretty", "compact": "pretty",
             **dict.fromkeys(TRUE, "json"), **dict.fromkeys(FALSE, "pretty")}
    if value.lower() not in known:
        raise ValueError("write true, false, pretty, json or compact")
    return known[value.lower()]


def flag(value: str) -> str:
    if value.lower() not in TRUE + FALSE:
        raise ValueError("write true or false")
    return "true" if value.lower() in TRUE else "false"


def first_number(value: str) -> str:
    """OpenMP takes a list with a number for each nesting level; the first counts."""
    first = value.split(",")[0].strip()
    if not first.isdigit() or int(first) < 1:
        raise ValueError("write a number of threads, 1 or more")
    return first


def microseconds(value: str) -> str:
    if not value.isdigit():
        raise ValueError("write whole microseconds")
    return str(int(value) / 1000)


def cpu_if_true(value: str) -> str:
    return "cpu" if flag(value) == "true" else ""


def sets(name: str, target: str, convert: Convert = same, **more: Convert) -> Name:
    return Name(name, {target: convert, **more})


def holds(name: str, why: str) -> Name:
    return Name(name, why=why)


def only(name: str, accepted: tuple[str, ...], why: str, instead: str) -> Name:
    """Accepted are these values, without regard to case, and an empty one."""
    return Name(name, accepted=("", *accepted), why=why, instead=instead)


def absent(name: str, feature: str) -> Name:
    """A switch for something ullage does not do: off holds, on is refused."""
    return only(name, (*FALSE, "none"), f"{feature} is off", f"ullage has no {feature} yet; leave it off")


def refused(name: str, why: str, instead: str) -> Name:
    """Any value but an empty one is refused."""
    return Name(name, accepted=("",), why=why, instead=instead)
