"""Are all ports free? Asked before anything is started."""

from __future__ import annotations

from collections.abc import Sequence

import psutil

from ullage.errors import SettingsError
from ullage.http.run import claim_port
from ullage.stack.services import Spec


def check_ports(specs: Sequence[Spec]) -> None:
    """Raises SettingsError with a clause for every port that is wanted twice or taken."""
    faults: list[str] = []
    owners: dict[int, str] = {}
    for spec in specs:
        other = owners.setdefault(spec.port, spec.service)
        if other != spec.service:
            faults.append(f"{other} and {spec.service} both want port {spec.port}: set {spec.service}_port to another")
        else:
            faults += _taken(spec)
    if faults:
        raise SettingsError("; ".join(faults))


def holder(port: int) -> str | None:
    """`pid 123 (python3)` of who listens on the port, as far as we may see it."""
    for connection in psutil.net_connections(kind="tcp"):
        listens = connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,)
        if listens and connection.pid is not None:
            try:
                return f"pid {connection.pid} ({psutil.Process(connection.pid).name()})"
            except psutil.Error:
                return f"pid {connection.pid}"
    return None


def _taken(spec: Spec) -> list[str]:
    try:
        claim_port(spec.host, spec.port).close()
    except SettingsError as error:
        who = holder(spec.port)
        if who is None:
            return [f"{spec.service}: {error.message}"]
        return [f"port {spec.port} of {spec.service} is held by {who}: stop it, or set {spec.service}_port to another"]
    return []
