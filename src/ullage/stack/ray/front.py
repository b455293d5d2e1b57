"""The port of a service whose replicas run on Ray: every dialect passes through to Serve's proxy, streams as they come.

A replica that is killed takes its requests with it, and Ray answers for it. Nothing a service here does changes any
state, so the front asks again, inside the deadline, as long as not a byte of an answer has gone out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import httpx
import structlog
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from starlette.types import ASGIApp, Receive, Scope, Send

from ullage.errors import DependencyDown, TooLarge, UllageError
from ullage.http import Health, ServiceInfo, build_app
from ullage.http.errors import error_response
from ullage.settings import Service, Settings
from ullage.stack.ray.replica import ANSWERED_BY, ASKED_AT

log = structlog.get_logger("ullage.stack.ray")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0
CONNECTIONS = 1024
OWN_PATHS = ("/v1/health/live",)
HEALTH_PATHS = ("/v1/health/ready", "/v1/health", "/health")
METRICS_PATH = "/v1/metrics"
PROFILE = "ray"
LOOK_S, PROBE_S = 0.2, 5.0
SAID_BY_SERVE = {b"date", b"server", b"x-content-type-options", b"x-frame-options", b"referrer-policy"}
"""The last three Ray puts before every answer; ours say them themselves where they mean them."""

HOP_HEADERS = {b"connection", b"keep-alive", b"transfer-encoding", b"te", b"trailer", b"upgrade", b"host",
               b"proxy-connection", b"content-length", ASKED_AT}
"""Between two neighbours, or said anew by who sends on."""


class Upstream:
    """Serve's proxy with one service's prefix, and what the front counts of it."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=30)
        # A request's own deadline bounds it, whatever its parts take.
        self.http = httpx.AsyncClient(base_url=url, timeout=None, limits=limits,  # noqa: S113
                                      trust_env=False, transport=transport)
        self._registry = CollectorRegistry()
        self.retried = Counter("ullage_front_retried", "Requests asked again, a replica being gone",
                               registry=self._registry)
        self.seconds = Histogram("ullage_front_seconds", "Until the first byte of an answer", registry=self._registry)

    def figures(self) -> bytes:
        """The front's own series, which come after those of the replica that answered."""
        return generate_latest(self._registry)

    async def missing(self) -> str:
        """Why no replica is ready; empty when one is."""
        try:
            answer = await self.http.get("/v1/health/ready", timeout=PROBE_S)
        except httpx.HTTPError as error:
            return f"Ray Serve's proxy does not answer: {str(error) or type(error).__name__}"
        return "" if answer.status_code == 200 and ANSWERED_BY in answer.headers else "no replica is ready yet"


@dataclass(slots=True)
class Asked:
    """One request on its way; `deadline` is a time of `time.monotonic`."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: bytes
    deadline: float
    tries: int = 0
    begun: float = field(default_factory=time.monotonic)

    @property
    def left_s(self) -> float:
        return self.deadline - time.monotonic()


class Front:
    """Stands before the routes of its own server, which answer only for the process itself.

    `upstream` is Serve's proxy with the service's prefix.
    """

    def __init__(self, app: ASGIApp, *, service: Service, settings: Settings, upstream: Upstream) -> None:
        self._own = app
        self._service = service
        self._timeout_s = settings.request_timeout_s
        self._most = int(settings.max_body)
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OWN_PATHS:
            await self._own(scope, receive, send)
            return
        try:
            body = await self._body(receive)
            if body is None:
                return
            await self._pass(self._asked(scope, body), receive, send)
        except UllageError as error:
            await error_response(error)(scope, receive, send)

    async def _body(self, receive: Receive) -> bytes | None:
        """All of it, so that it can be sent again; None for a client that went away. Raises TooLarge."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size <= self._most:
                parts.append(part)
            else:
                parts.clear()
            if not message.get("more_body"):
                break
        if size > self._most:
            raise TooLarge(f"request body of at least {size} bytes exceeds the limit of {self._most} bytes (max_body)")
        return b"".join(parts)

    def _asked(self, scope: Scope, body: bytes) -> Asked:
        query = scope.get("query_string", b"")
        path = scope.get("raw_path") or scope["path"].encode()
        whole = path + (b"?" + query if query else b"")
        port = (scope.get("server") or ("", 0))[1] or 0
        headers = [*_kept(scope["headers"]), (ASKED_AT, str(port).encode())]
        return Asked(scope["method"], whole.decode("latin-1"), headers, body, time.monotonic() + self._timeout_s)

    async def _pass(self, asked: Asked, receive: Receive, send: Send) -> None:
        asking = asyncio.create_task(self._answer(asked, send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait([asking, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not asking.done():
                asking.cancel()  # which closes the connection upstream, and so ends the work there
            await asyncio.gather(asking, leaving, return_exceptions=True)
        if not asking.cancelled():
            asking.result()

    async def _answer(self, asked: Asked, send: Send) -> None:
        answer = await self._until_answered(asked)
        self._upstream.seconds.observe(time.monotonic() - asked.begun)
        try:
            headers = [*dict(_kept((name.lower(), value) for name, value in answer.headers.raw
                                   if name.lower() not in SAID_BY_SERVE)).items()]
            more = self._upstream.figures() if asked.path == METRICS_PATH and answer.status_code == 200 else b""
            if "content-length" in answer.headers:
                headers.append((b"content-length", str(int(answer.headers["content-length"]) + len(more)).encode()))
            await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
            async for part in answer.aiter_raw():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": more, "more_body": False})
        finally:
            await answer.aclose()

    async def _until_answered(self, asked: Asked) -> httpx.Response:
        """An answer of a replica whose body has not been read. Raises DependencyDown when there is none in time."""
        path = asked.path.partition("?")[0]
        while True:
            asked.tries += 1
            why = await self._try(asked)
            if isinstance(why, httpx.Response):
                return why
            wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** (asked.tries - 1))
            if path in HEALTH_PATHS or asked.left_s <= wait_s:
                raise DependencyDown(f"{self._service} has no replica that answers ({why}): `serve status` shows where "
                                     "Ray has placed them")
            self._upstream.retried.inc()
            log.info("asked again", service=self._service, tries=asked.tries, reason=why)
            await asyncio.sleep(wait_s)

    async def _try(self, asked: Asked) -> httpx.Response | str:
        """An answer, or why there is none."""
        request = self._upstream.http.build_request(asked.method, asked.path, headers=asked.headers, content=asked.body)
        try:
            async with asyncio.timeout(max(0.0, asked.left_s)):
                answer = await self._upstream.http.send(request, stream=True)
                if ANSWERED_BY in answer.headers:
                    return answer
                said = " ".join((await answer.aread()).decode(errors="replace").split())[:200]
                await answer.aclose()
        except TimeoutError:
            return f"nothing was said within request_timeout_s={self._timeout_s:g}"
        except httpx.TransportError as error:
            return str(error) or type(error).__name__
        return f"Ray said {answer.status_code}: {said}"


async def _gone(receive: Receive) -> None:
    """Until the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _kept(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    return ((name, value) for name, value in headers if name not in HOP_HEADERS)


class FrontLifecycle:
    """Ready as soon as a replica is; from then on the replicas are asked each time."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def start(self, health: Health) -> None:
        while reason := await self._upstream.missing():
            health.loading(reason)
            await asyncio.sleep(LOOK_S)

    async def stop(self) -> None:
        await self._upstream.http.aclose()


def front_app(service: Service, settings: Settings, upstream: Upstream) -> FastAPI:
    """A server that answers `live` itself and passes everything else on."""
    info = ServiceInfo(service=service, models=(), profile=PROFILE, ledger={})
    app = build_app(info, FrontLifecycle(upstream), max_body=int(settings.max_body))
    app.add_middleware(Front, service=service, settings=settings, upstream=upstream)
    return app
