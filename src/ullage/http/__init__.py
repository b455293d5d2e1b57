"""What every server shares: the app with its standard routes, errors to status codes, limits, logs, metrics."""

from ullage.http.app import Lifecycle, build_app
from ullage.http.health import Health
from ullage.http.identity import ServiceInfo
from ullage.http.run import run_server

__all__ = ["Health", "Lifecycle", "ServiceInfo", "build_app", "run_server"]
