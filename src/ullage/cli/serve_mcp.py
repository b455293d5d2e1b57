"""`ullage serve mcp`: the tools for clients of the Model Context Protocol, in this process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast, get_args

import structlog

from ullage.cli.invocation import Invocation
from ullage.errors import SettingsError

if TYPE_CHECKING:
    from ullage.mcp.app import HttpTransport

DRAIN_S = 5.0
"""For calls in flight; streams of clients that only listen do not end by themselves."""


def run_mcp(
    asked: Invocation, transport: str, *, host: str | None, port: int | None, unfit: Mapping[str, object]
) -> None:
    """Serve until standard input ends (stdio) or until SIGTERM. Raises SettingsError for flags that mean nothing here:
    those of `unfit` that were given, an unknown transport, an address for stdio."""
    # Read by the metrics library at its import; a process of ours keeps its own figures.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    from ullage.http.logs import configure_logs
    from ullage.mcp.app import Transport, create_app, mcp_door, serve_stdio
    from ullage.stack.doors import take_keys

    if transport not in get_args(Transport):
        raise SettingsError(f"--transport {transport}: there are {', '.join(get_args(Transport))}")
    given = [f"--{name}" for name, value in unfit.items() if value is not None]
    if transport == "stdio":
        given += [f"--{name}" for name, value in (("host", host), ("port", port)) if value is not None]
    if given:
        raise SettingsError(f"{', '.join(given)} means nothing to mcp over {transport}: leave it out")
    effective = asked.load(host=host, mcp_port=port)
    settings = effective.settings
    configure_logs(settings.log_level, settings.log_format, "mcp")
    for note in effective.notes:
        structlog.get_logger("ullage.settings").info("foreign name", note=note)
    take_keys(settings)
    if transport == "stdio":
        asyncio.run(serve_stdio(settings))
        return
    from ullage.http.run import claim_port, run_server

    # A stop that was asked for is no failure; uvicorn raises the signal again once it has drained.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    door = mcp_door(settings)
    listener = claim_port(settings.host, settings.mcp_port)
    run_server(create_app(settings, cast("HttpTransport", transport)), listener, drain_s=DRAIN_S, door=door)
