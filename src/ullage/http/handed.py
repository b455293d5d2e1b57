"""Listening sockets that a process is born with: from our supervisor, or from systemd (sd_listen_fds(3))."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field

from ullage.errors import SettingsError
from ullage.http.run import claim_port

FIRST = 3
FRONT, STANDBY, BACK = "front", "standby", "back"
"""Names of a descriptor: served at once; served once ready, while another process still does; for the supervisor's
questions alone. Any other name is what systemd calls a socket: as FRONT."""


@dataclass(slots=True)
class Handed:
    """`back` answers at once, in plain HTTP; `standby`: the others are served once the service is ready."""

    front: list[socket.socket] = field(default_factory=list)
    back: socket.socket | None = None
    standby: bool = False

    def claim(self, host: str, port: int) -> socket.socket:
        """The socket of that port that was handed over, else a new one. Raises SettingsError when it is taken."""
        for listener in self.front:
            if listener.getsockname()[1] == port:
                self.front.remove(listener)
                return listener
        return claim_port(host, port)

    def nothing_left(self) -> None:
        """Raises SettingsError for a socket that nobody claimed: who handed it over means another port."""
        if self.front:
            ports = ", ".join(str(listener.getsockname()[1]) for listener in self.front)
            raise SettingsError(f"a listening socket of port {ports} was handed over, and no server here has that "
                                "port: set the service's port to it, or leave the socket out")


def handed_over() -> Handed:
    """Take them out of the environment, so that no child of ours takes them for its own."""
    count, pid, names = (os.environ.pop(name, "") for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"))
    found = Handed()
    if not count.isdigit() or pid != str(os.getpid()):
        return found
    labels = names.split(":") if names else []
    for place in range(int(count)):
        listener = socket.socket(fileno=FIRST + place)
        listener.set_inheritable(False)
        label = labels[place] if place < len(labels) else FRONT
        if label == BACK:
            found.back = listener
        else:
            found.front.append(listener)
            found.standby = found.standby or label == STANDBY
    return found
