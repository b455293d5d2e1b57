"""Names of services as they are given on the command line."""

from __future__ import annotations

import difflib

from ullage.errors import SettingsError
from ullage.settings import ALL_SERVICES, Service


def one_service(text: str) -> Service:
    """The one service that `text` names. Raises SettingsError for several."""
    chosen = chosen_services(text) or ()
    if len(chosen) != 1:
        raise SettingsError(f"{text} names {len(chosen)} services: name one")
    return chosen[0]


def chosen_services(text: str | None) -> tuple[Service, ...] | None:
    """`ranking,embedding` as services in their usual order; None when nothing was chosen."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ALL_SERVICES:
            near = difflib.get_close_matches(name, ALL_SERVICES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ALL_SERVICES)}"
            raise SettingsError(f"no service is called {name}: {hint}")
    if not names:
        raise SettingsError(f"--only names no service: there are {', '.join(ALL_SERVICES)}")
    return tuple(service for service in ALL_SERVICES if service in names)
