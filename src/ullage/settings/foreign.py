"""Names of the stack we replace: each takes effect, has nothing to do here, or is refused with the reason.

Source: the documented environment of the NeMo Retriever NIMs (1.x and 2.x) and of the RAG Blueprint 2.6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from ullage.settings.conversions import FALSE, TRUE, Conversion, same
from ullage.settings.model import Service, Settings

Verdict = Literal["sets", "holds", "refused"]

_SECRET = re.compile(r"API_?KEY|SECRET|PASSWORD|USERNAME|LEDGER_URL|(^|_)TOKEN$", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_LONGEST = 100

NIMS: tuple[Service, ...] = ("ranking", "embedding", "llm")
"""What a name with `{service}` may speak to: in the stack we replace each is a container with its own environment."""


@dataclass(frozen=True, slots=True)
class Name:
    """One name of another product.

    `sets` maps settings of ours to a conversion; `{service}` in a setting stands for the service being started.
    Without `sets`, `accepted` are the values whose wish is already fulfilled (None: any), `why` says how, and
    `instead` says what to do about any other value. With `sets`, `why` is the reason when a value sets nothing.
    A `shared` name is read by other programs too: it gives way to every other name, and never stops a start by that.
    """

    name: str
    sets: Mapping[str, Conversion] = field(default_factory=dict)
    accepted: tuple[str, ...] | None = None
    why: str = ""
    instead: str = ""
    shared: bool = False

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
            return self._sets_text()
        if self.accepted is None:
            return self.why
        if not self.accepted:
            return self.instead
        return f"{_values_text(self.accepted)}: {self.why}; else refused: {self.instead}"

    def _sets_text(self) -> str:
        targets = " and ".join(f"`{target.format(service='SERVICE')}`" for target in self.sets)
        [read, *_] = [conversion.reads for conversion in self.sets.values()]
        return f"sets {targets}" + (f" from {read}" if read else "") + (f"; or nothing: {self.why}" if self.why else "")


def _values_text(values: tuple[str, ...]) -> str:
    rest = list(values)
    shown = []
    for word, meaning in (("on", TRUE), ("off", FALSE)):
        if set(meaning) <= set(rest):
            shown.append(f"`{meaning[1]}` ({word})")
            rest = [value for value in rest if value not in meaning]
    return " or ".join([*shown, *(f"`{value}`" for value in rest)])


@dataclass(frozen=True, slots=True)
class Reading:
    """What one variable comes to: (setting, value) pairs, or a note for the log, or a fault. `said` is what it said."""

    said: str
    pairs: tuple[tuple[str, str], ...] = ()
    note: str = ""
    fault: str = ""


def read(known: Name, value: str, service: Service | None) -> Reading:
    """Judge one variable. `service` is None for a command that concerns several services."""
    value = unquoted(value)
    said = f"{known.name}={shown(known.name, value)}"
    if known.sets:
        return _read_setting(known, value, service, said)
    if known.accepted is None or value.lower() in known.accepted:
        return Reading(said, note=f"{said}: {known.why}")
    return Reading(said, fault=f"{said} is refused: {known.instead}")


def _read_setting(known: Name, value: str, service: Service | None, said: str) -> Reading:
    try:
        converted = {target: convert(value) for target, convert in known.sets.items()}
    except ValueError as error:
        return Reading(said, fault=f"{said} is refused: {error}")
    wanted = {target: result for target, result in converted.items() if result}
    if not wanted:
        return Reading(said, note=f"{said} sets nothing: {known.why or 'that is so already'}")
    personal = [target for target in wanted if "{service}" in target]
    if personal and service is None:
        return Reading(said, fault=f"{said} speaks to one service, and this command is for several: "
                                   f"set {_one_each(personal[0])}")
    if personal and service not in NIMS:
        return Reading(said, note=f"{said} has no object here: it speaks to {', '.join(NIMS)}, and this is {service}")
    pairs = tuple((target.format(service=service), result) for target, result in wanted.items())
    missing = [setting for setting, _ in pairs if setting not in Settings.model_fields]
    if missing:
        what = missing[0].removeprefix(f"{service}_").replace("_", " ")
        return Reading(said, note=f"{said} has no object here: {service} has no {what}")
    return Reading(said, pairs)


def _one_each(target: str) -> str:
    own = [target.format(service=service) for service in NIMS]
    return " or ".join(f"ULLAGE_{name.upper()}" for name in own if name in Settings.model_fields)


def unquoted(value: str) -> str:
    """The value without the quotes and blanks that env files leave around it."""
    return value.strip().strip("\"'").strip()


def shown(name: str, value: str) -> str:
    """A value as a message may hold it: no secret, one line, not too long."""
    return one_line(redacted(name, value))


def redacted(name: str, value: str) -> str:
    """A value without what nobody should read: keys, passwords, the user part of a URL."""
    return "(not shown)" if _SECRET.search(name) else _USER.sub("***", value)


def one_line(text: str) -> str:
    """The text as one printable line of bounded length."""
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def sets(name: str, target: str, convert: Conversion = same, *, why: str = "", shared: bool = False) -> Name:
    return Name(name, {target: convert}, why=why, shared=shared)


def holds(name: str, why: str) -> Name:
    return Name(name, why=why)


def only(name: str, accepted: tuple[str, ...], why: str, instead: str) -> Name:
    """Accepted are these values, without regard to case."""
    return Name(name, accepted=accepted, why=why, instead=instead)


def absent(name: str, feature: str) -> Name:
    """A switch for something ullage does not do: off holds, on is refused."""
    return only(name, (*FALSE, "none"), f"ullage has no {feature}, and none is asked for",
                f"ullage has no {feature} yet; write 0 or leave it out")


def refused(name: str, instead: str) -> Name:
    """Any value is refused."""
    return Name(name, accepted=(), instead=instead)
