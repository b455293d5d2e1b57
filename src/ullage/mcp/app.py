"""The MCP server behind its three doors: stdio, or HTTP (SSE or streamable) with what every server of ours has."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal

from fastapi import FastAPI
from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from ullage.clients.once import Once
from ullage.errors import UllageError
from ullage.http import Health, ServiceInfo, build_app
from ullage.http.door import Door
from ullage.http.keys import Keys
from ullage.http.tls import Tls
from ullage.mcp.server import connect, mcp_server
from ullage.mcp.tools import Servers
from ullage.settings import LOOPBACK, Settings

Transport = Literal["stdio", "sse", "streamable-http"]
HttpTransport = Literal["sse", "streamable-http"]
Running = contextlib.AbstractAsyncContextManager[None]
"""What lasts as long as the app does."""

STREAMABLE_PATH = "/mcp"
SSE_PATH = "/sse"
MESSAGES_PATH = "/messages/"
RETRY_S = 0.5


class McpLifecycle:
    """Ready when the RAG server or the ingestor is: one of them is enough for some tools."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def start(self, health: Health) -> None:
        rag, ingest = self._servers.rag, self._servers.ingest
        health.loading(f"waiting for the RAG server at {rag.base_url} or the ingestor at {ingest.base_url}")
        while True:
            if any(await asyncio.gather(_ready(rag), _ready(ingest))):
                return
            await asyncio.sleep(RETRY_S)

    async def stop(self) -> None:
        await self._servers.close()


async def _ready(server: Once) -> bool:
    try:
        await server.ask("GET", "/v1/health/ready")
    except UllageError:
        return False
    return True


class SsePoint:
    """One client's stream, as long as it lasts."""

    def __init__(self, server: Server[dict[str, Any]], transport: SseServerTransport,
                 security: TransportSecuritySettings | None) -> None:
        self._server = server
        self._transport = transport
        self._security = TransportSecurityMiddleware(security)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Asked first: the transport answers too, and then raises.
        refusal = await self._security.validate_request(Request(scope, receive))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        async with self._transport.connect_sse(scope, receive, send) as (reading, writing):
            await self._server.run(reading, writing, self._server.create_initialization_options())


def create_app(settings: Settings, transport: HttpTransport) -> FastAPI:
    """`/mcp` or `/sse` with `/messages/`, beside the routes that every server has."""
    servers = connect(settings, stdio=False)
    server = mcp_server(servers)
    app = build_app(ServiceInfo(service="mcp"), McpLifecycle(servers), max_body=int(settings.max_body))
    routes, running = (_sse if transport == "sse" else _streamable)(server, settings)
    app.router.routes.extend(routes)
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running, inner(app):
            yield

    app.router.lifespan_context = lifespan
    return app


def _streamable(server: Server[dict[str, Any]], settings: Settings) -> tuple[list[BaseRoute], Running]:
    most = int(settings.max_body)
    made = server.streamable_http_app(
        streamable_http_path=STREAMABLE_PATH, max_request_body_size=most, transport_security=_security(settings.host)
    )
    return made.routes, server.session_manager.run()


def _sse(server: Server[dict[str, Any]], settings: Settings) -> tuple[list[BaseRoute], Running]:
    security = _security(settings.host)
    transport = SseServerTransport(MESSAGES_PATH, security, max_request_body_size=int(settings.max_body))
    routes: list[BaseRoute] = [
        Route(SSE_PATH, SsePoint(server, transport, security), methods=["GET"]),
        Mount(MESSAGES_PATH, transport.handle_post_message),
    ]
    return routes, contextlib.nullcontext()


def _security(host: str) -> TransportSecuritySettings | None:
    """On loopback only requests for loopback are answered: else a page in a browser could rebind its name to here."""
    names = ("127.0.0.1", "localhost", "[::1]")
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=host in LOOPBACK,
        allowed_hosts=[f"{name}:*" for name in names],
        allowed_origins=[f"{scheme}://{name}:*" for name in names for scheme in ("http", "https")],
    )


def mcp_door(settings: Settings) -> Door:
    """Raises SettingsError when certificate and key, or the API keys, cannot be used."""
    keys = settings.api_keys.get_secret_value() if settings.api_keys is not None else ""
    return Door(host=settings.host, tls=Tls.of(settings.tls_cert, settings.tls_key), keys=Keys.of(keys))


async def serve_stdio(settings: Settings) -> None:
    """Until standard input ends. Standard output belongs to the protocol."""
    servers = connect(settings, stdio=True)
    server = mcp_server(servers)
    try:
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())
    finally:
        await servers.close()
