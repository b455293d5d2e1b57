"""Run as a module: the front of one service, `python -m ullage.stack.ray.serve_front SERVICE PROXY_URL`."""

from __future__ import annotations

import signal
import sys

from ullage.errors import SettingsError, UllageError, outcome
from ullage.http.door import Door
from ullage.http.handed import handed_over
from ullage.http.logs import configure_logs
from ullage.http.run import run_server
from ullage.settings import Service, load
from ullage.stack.ray.front import Upstream, front_app
from ullage.stack.ray.replicas import ON_RAY
from ullage.stack.services import drain_s


def main(arguments: list[str]) -> int:
    """Serve until SIGTERM; the exit code."""
    try:
        name, proxy = arguments
        if name not in ON_RAY:
            raise SettingsError(f"{name} does not run on Ray; there are {', '.join(ON_RAY)}")
        _serve(name, proxy)
    except UllageError as error:
        print(f"error: {error.message}", file=sys.stderr)
        return outcome(error).exit_code
    return 0


def _serve(service: Service, proxy: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    settings = load({}, service=service).settings
    configure_logs(settings.log_level, settings.log_format, f"{service} front")
    handed = handed_over()
    listener = handed.claim(settings.host, settings.port(service))
    more = [handed.claim(settings.host, port) for port in settings.more_ports(service)]
    handed.nothing_left()
    app = front_app(service, settings, Upstream(f"{proxy}/{service}"))
    # Keys are asked for by the replicas; the certificate is shown here, where callers connect.
    door = Door(host=settings.host, tls=Door.of(settings, service).tls, nim_version=settings.nim_version)
    run_server(app, listener, drain_s=drain_s(service, settings), door=door, more=more, back=handed.back,
               standby=handed.standby)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
