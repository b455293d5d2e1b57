"""`ullage serve SERVICE`: one service in this process, in the foreground."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, cast

import structlog
import typer

from ullage.cli.choices import one_service
from ullage.cli.invocation import invocation
from ullage.cli.serve_mcp import run_mcp
from ullage.errors import SettingsError
from ullage.settings import VISION_TASKS, Effective, Service
from ullage.settings.model import prefix_of

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ullage.plan import ServicePlan

ROOMS: dict[Service, str] = {
    "ranking": "ullage.serve.ranking.app",
    "embedding": "ullage.serve.embedding.app",
    "llm": "ullage.serve.llm.app",
    "rag": "ullage.rag.server",
    "ingest": "ullage.ingest.server",
    "vision": "ullage.serve.vision.app",
    "web": "ullage.web.app",
}
MCP = "mcp"
"""No service of a stack: clients start it, or it is started for them."""

MODEL_SERVICES = ("ranking", "embedding", "llm", "vision")


def serve(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help=f"one of {', '.join((*ROOMS, *VISION_TASKS, MCP))}")],
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    memory: Annotated[str | None, typer.Option(help="budget of this process, in bytes or such as 700MiB")] = None,
    host: Annotated[str | None, typer.Option(help="address to bind to")] = None,
    model: Annotated[str | None, typer.Option(help="card name or folder")] = None,
    threads: Annotated[int | None, typer.Option(help="compute threads")] = None,
    max_sequence: Annotated[int | None, typer.Option(help="tokens of one row at most")] = None,
    max_batch_tokens: Annotated[int | None, typer.Option(help="tokens in flight at most")] = None,
    transport: Annotated[str | None, typer.Option(help="of mcp: stdio, sse or streamable-http; else stdio")] = None,
) -> None:
    """Run one service in the foreground until SIGTERM."""
    sizes = {"memory": memory, "model": model, "threads": threads, "max-sequence": max_sequence,
             "max-batch-tokens": max_batch_tokens}
    if service == MCP:
        run_mcp(invocation(context), transport or "stdio", host=host, port=port, unfit=sizes)
        return
    if transport is not None:
        raise SettingsError(f"--transport is for {MCP}: leave it out with {service}")
    name = _service(service, model)
    own = {f"{name}_port": port, f"{name}_memory": memory, f"{name}_model": model}
    if name == "vision":
        own |= {"vision_tasks": None if service == "vision" else service}
        own |= {f"{prefix_of(task)}_port": port for task in VISION_TASKS if task == service}
    effective = invocation(context).load(
        service=name, host=host, threads=threads, max_sequence=max_sequence, max_batch_tokens=max_batch_tokens,
        **{setting: value for setting, value in own.items() if value is not None},
    )
    run_service(name, effective)


def _service(text: str, model: str | None) -> Service:
    if text == "vectors":
        raise SettingsError("vectors is Milvus Lite's own server: start it with `ullage up --only vectors`")
    service = one_service("vision" if text in VISION_TASKS else text)
    if model is not None and service not in MODEL_SERVICES:
        raise SettingsError(f"{service} has no model: leave out --model")
    return service


def run_service(service: Service, effective: Effective) -> None:
    """Claim the port, plan, and serve. Raises what keeps the service from starting."""
    with _uncollected():
        serve_app = _prepared(service, effective)
    serve_app()


@contextmanager
def _uncollected() -> Iterator[None]:
    """What is imported stays: looking through it again and again takes a tenth of a start, and pauses later."""
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _prepared(service: Service, effective: Effective) -> Callable[[], None]:
    """The port is claimed, the app is there: what is left is to serve."""
    # Read by the metrics library at its import; a process of ours keeps its own figures.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    from ullage.http.door import Door
    from ullage.http.handed import handed_over
    from ullage.http.logs import configure_logs
    from ullage.http.run import SAFE_HEADERS, run_server
    from ullage.stack.doors import take_keys
    from ullage.stack.services import drain_s

    signal.signal(signal.SIGTERM, _exit)
    settings = effective.settings
    configure_logs(settings.log_level, settings.log_format, service)
    for note in effective.notes:
        structlog.get_logger("ullage.settings").info("foreign name", note=note)
    door = Door.of(settings, service)
    take_keys(settings)
    handed = handed_over()
    listener = handed.claim(settings.host, settings.port(service))
    more = [handed.claim(settings.host, port) for port in settings.more_ports(service)]
    handed.nothing_left()
    app = _app(service, effective)
    if settings.otel_endpoint:
        from ullage.http.tracing import install_tracing

        install_tracing(app, service, settings.otel_endpoint)
    return partial(run_server, app, listener, drain_s=drain_s(service, settings), door=door, more=more,
                   back=handed.back, standby=handed.standby, headers=() if service == "web" else SAFE_HEADERS,
                   websockets=service == "web")


def _exit(*_: object) -> None:
    """A stop that was asked for is no failure; uvicorn raises the signal again once it has drained."""
    sys.exit(0)


def _app(service: Service, effective: Effective) -> FastAPI:
    """The service's app. Its room is imported only now: a process should carry no other service's libraries."""
    planned = _planned(service, effective)
    create = cast("Callable[..., FastAPI]", import_module(ROOMS[service]).create_app)
    return create(effective.settings) if service == "rag" else create(effective.settings, planned)


def _planned(service: Service, effective: Effective) -> ServicePlan:
    from ullage.stack.place import place_one

    return place_one(effective.settings, service)[service]


def register(app: typer.Typer) -> None:
    app.command()(serve)
