"""How many replicas of each service: a number, or a range inside which the queue decides."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ullage.errors import SettingsError
from ullage.settings import Service

ON_RAY: tuple[Service, ...] = ("ranking", "embedding", "vision", "rag")
"""Services that keep nothing, so that any replica may answer. The others run as processes beside the fronts."""

MOST = 1000
_RANGE = re.compile(r"(\d{1,4})(?:\.\.(\d{1,4}))?")


@dataclass(frozen=True, slots=True)
class Replicas:
    """Always `least`; up to `most` while tokens wait."""

    least: int = 1
    most: int = 1

    @property
    def fixed(self) -> bool:
        return self.least == self.most


def parse_replicas(text: str) -> dict[Service, Replicas]:
    """`ranking=2,embedding=1..4` as replicas by service. Raises SettingsError."""
    found: dict[Service, Replicas] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, counts = part.partition("=")
        matched = _RANGE.fullmatch(counts)
        service = next((known for known in ON_RAY if known == name), None)
        if service is None:
            raise SettingsError(f"--replicas {part}: {name} does not run on Ray; there are {', '.join(ON_RAY)}")
        if service in found:
            raise SettingsError(f"--replicas {text}: {service} is named twice; keep one of them")
        if matched is None:
            raise SettingsError(f"--replicas {part}: write {service}=2, or {service}=1..4 for as many as "
                                "the queue needs")
        least, most = int(matched[1]), int(matched[2] or matched[1])
        if not 1 <= least <= most <= MOST:
            raise SettingsError(f"--replicas {part}: counts go from 1 to {MOST}, the smaller one first")
        found[service] = Replicas(least, most)
    return found


def largest(replicas: Mapping[Service, Replicas], service: Service) -> int:
    """Replicas that there may be at once; one of a service that is not named."""
    return replicas.get(service, Replicas()).most
