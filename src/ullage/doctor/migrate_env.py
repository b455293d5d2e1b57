"""The vendor's environment as settings of ours, name by name, with what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ullage.doctor.settings_files import Service as VendorService
from ullage.doctor.settings_files import Setting
from ullage.doctor.text import Text
from ullage.doctor.vendor import belongs_to, names, nearest
from ullage.errors import SettingsError
from ullage.settings import Service, load
from ullage.settings.foreign import NIMS, read, shown, unquoted
from ullage.settings.names import NAMES

URLS = ("ranking_url", "embedding_url", "llm_url", "summary_llm_url", "vision_url", "vectors_uri", "rag_url",
        "ingest_url")
_OF_THE_CONTAINER = ("host", "cache_dir", "state_dir", "objects_uri")


@dataclass(frozen=True, slots=True)
class Line:
    """`what` became something or not, because of `why`."""

    what: str
    why: Text


@dataclass(frozen=True, slots=True)
class Taken:
    """`said` is what the vendor's file says; it sets `setting` to `value`, for `service` alone or (None) for all."""

    said: str
    origin: str
    setting: str
    value: str
    service: Service | None


@dataclass(slots=True)
class Mapped:
    taken: list[Taken] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def values(self, service: Service | None = None) -> dict[str, str]:
        """Settings for all services, and those of one."""
        return {one.setting: one.value for one in self.taken if one.service in (None, service)}


def mapped_settings(taken: Mapping[Service, Sequence[VendorService]], env: Mapping[str, str]) -> Mapped:
    """What the environments of the services that are taken over come to. `env` is what stands in env files."""
    found = Mapped()
    inside = {vendor.name for vendors in taken.values() for vendor in vendors}
    seen: set[str] = set()
    for service, vendors in taken.items():
        for vendor in vendors:
            for setting in vendor.settings:
                seen.add(setting.name)
                _map(found, setting, service, vendor.name, inside)
    for name, value in env.items():
        # What the compose files put in was seen there, with what they made of it.
        if name not in seen and name in NAMES:
            _map(found, Setting(name, value, ".env", 0), "rag", ".env", inside)
    found.holds = list(dict.fromkeys(found.holds))
    found.dropped = list(dict.fromkeys(found.dropped))
    return found


def _map(found: Mapped, setting: Setting, service: Service, origin: str, inside: set[str]) -> None:
    name, value = setting.name, unquoted(setting.value)
    if not value:
        return
    if name not in NAMES:
        if name.startswith(("NIM_", "APP_")):
            found.dropped.append(f"`{name}={shown(name, value)}` ({origin}): {_unknown(name)}")
        return
    reading = read(NAMES[name], value, service)
    if reading.fault:
        found.dropped.append(f"`{reading.said}` ({origin}): {reading.fault.partition(' is refused: ')[2]}")
        return
    if reading.note:
        found.holds.append(f"{reading.note} ({origin})")
    for target, wanted in reading.pairs:
        reason = _not_taken(target, wanted, inside)
        if reason:
            found.holds.append(f"{reading.said}: {reason} ({origin})")
            continue
        own = service if service in NIMS else None
        if any(one.setting == target and one.service == own for one in found.taken):
            found.taken = [one for one in found.taken if (one.setting, one.service) != (target, own)]
        found.taken.append(Taken(reading.said, origin, target, wanted, own))


def _unknown(name: str) -> str:
    if name in names().llm or name in names().other_nims or name in names().blueprint:
        return f"a name of {belongs_to(name).en} that has no counterpart here"
    near = nearest(name)
    return f"no program reads it; the nearest real name is {near}" if near else "no program reads it"


def _not_taken(target: str, value: str, inside: set[str]) -> str:
    """Why a setting is not written: the compose file says it already, or the value would be refused."""
    if target in _OF_THE_CONTAINER or target.endswith("_port"):
        return "the container has its own; the port on the host stays"
    if target.endswith("_profile"):
        return "the plan chooses the profile, for the bytes that it gives"
    if target in URLS:
        host = value.partition("://")[2].partition("/")[0].partition(":")[0]
        if host in inside or "." not in host:
            return "that service stands in the same compose file"
    try:
        load({target: value}, environ={})
    except SettingsError as error:
        return f"refused: {error.message}"
    return ""
