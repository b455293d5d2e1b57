"""What our clients show at the doors of our own services: a key, and which certificate must be there."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, repr=False)
class ClientDoor:
    """For `httpx.Client` and `httpx.AsyncClient`; `headers` may hold a key and are never shown."""

    verify: ssl.SSLContext | bool = True
    headers: Mapping[str, str] = field(default_factory=dict)


_ANYBODY = ClientDoor()
_doors: dict[tuple[str, str, int | None], ClientDoor] = {}


def open_doors(urls: Iterable[str], *, key: str = "", context: ssl.SSLContext | None = None) -> None:
    """From now on every client of this process that is made for one of `urls` shows `key` and trusts `context`."""
    door = ClientDoor(context or True, {"Authorization": f"Bearer {key}"} if key else {})
    _doors.update(dict.fromkeys(map(_origin, urls), door))


def door_of(url: str) -> ClientDoor:
    """Of a service that is not ours: nothing is shown, and the certificates of the system are trusted."""
    return _doors.get(_origin(url), _ANYBODY)


def close_doors() -> None:
    """Show nothing to anybody any more."""
    _doors.clear()


def _origin(text: str) -> tuple[str, str, int | None]:
    import httpx  # as the client itself will read it; a service that has no keys calls nobody and does not load it

    url = httpx.URL(text)
    return url.scheme, url.host, url.port
