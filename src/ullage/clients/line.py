"""Connections to one service, kept open: a request goes out as bytes, its answer comes back as bytes or line by line.

aiohttp reads HTTP in C: a call of the embedder costs 0.2 ms of processor time, over httpx it cost 1.0 ms.
"""

from __future__ import annotations

import io
import json
import ssl
import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp
import httpx
import orjson

from ullage.version import __version__

KEPT_OPEN_S = 4.0
"""Of a connection without work: less than the 5 s after which our servers (uvicorn's) close it, so that no request
goes out on one that is just being closed."""

LARGE_BYTES = 1 << 20
"""A larger body (pictures) is sent in parts, with turns for others between them."""

AGENT = f"ullage/{__version__}"


class LineBroken(Exception):
    """No whole answer came; in one line, why. `unanswered`: there was nobody to connect to."""

    def __init__(self, reason: str, *, unanswered: bool = False) -> None:
        super().__init__(reason)
        self.unanswered = unanswered


@dataclass(slots=True)
class Reply:
    """A status, headers that are found whatever their case, and what was read of the body."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """Raises ValueError. NaN, which is not JSON, is read all the same: whoever asked says what is wrong with it."""
        try:
            return orjson.loads(self.body)
        except ValueError:
            return json.loads(self.body)


class Streamed(Reply):
    """An answer whose body is still coming."""

    __slots__ = ("pieces",)

    def __init__(self, status: int, reason: str, headers: Mapping[str, str], pieces: AsyncIterator[bytes]) -> None:
        super().__init__(status, reason, headers)
        self.pieces = pieces

    async def read(self) -> None:
        """The whole of the body, into `body`. Raises LineBroken."""
        self.body = b"".join([piece async for piece in self.pieces])


class Line(Protocol):
    """`headers` go with every request. What it waits is bounded by whoever calls; only connecting has a limit."""

    headers: dict[str, str]

    def open(
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """An async context with a Streamed. Left early, the connection is closed, and so the service stops.
        Raises LineBroken."""

    async def close(self) -> None: ...


def line_to(
    url: str, *, connect_s: float, verify: ssl.SSLContext | bool = True, headers: Mapping[str, str] | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> Line:
    """To the service at `url`, by way of the proxy that the environment names for it (HTTP_PROXY, NO_PROXY).

    `transport` leads to an app in this process instead.
    """
    if transport is not None:
        return _Inside(transport, dict(headers or {}))
    return _Outside(url, connect_s, verify, dict(headers or {}))


def encoded(body: object) -> bytes:
    """JSON. A text with half a surrogate pair, which UTF-8 cannot hold, is escaped."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return json.dumps(body, allow_nan=False).encode()


async def lines(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """As server-sent events have them: ended by CR, LF or both."""
    held = b""
    async for piece in pieces:
        found = (held + piece).splitlines(keepends=True)
        # Whether a CR at the end is all of its ending is not known yet.
        held = found.pop() if found and not found[-1].endswith(b"\n") else b""
        for line in found:
            yield line
    if held:
        yield held


@dataclass(slots=True)
class _Outside:
    """Over sockets. Connects on first use, because a session belongs to the loop that is running."""

    url: str
    connect_s: float
    verify: ssl.SSLContext | bool
    headers: dict[str, str]
    _session: aiohttp.ClientSession | None = field(default=None, init=False)
    _closed: bool = field(default=False, init=False)
    _proxy: str | None = field(default=None, init=False)

    @asynccontextmanager
    async def open(
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Streamed]:
        given = {**self.headers, **(headers or {})}
        if body is not None:
            given["Content-Type"] = "application/json"
        try:
            answer = await self._opened().request(method, url, data=_sendable(body), headers=given,
                                                  allow_redirects=False, proxy=self._proxy)
        except aiohttp.ConnectionTimeoutError:
            raise LineBroken(f"not connected within {self.connect_s:g} s", unanswered=True) from None
        except aiohttp.ClientError as error:
            raise _broken(error) from None
        try:
            yield Streamed(answer.status, answer.reason or "", answer.headers, _pieces(answer.content))
        finally:
            answer.release()  # which closes the connection when there is more to come

    def _opened(self) -> aiohttp.ClientSession:
        """Raises RuntimeError once it is closed, which is a fault of ours."""
        if self._closed:
            raise RuntimeError(f"the line to {self.url} is closed")
        if self._session is None:
            self._proxy = _proxy_of(self.url)
            safe: ssl.SSLContext | bool = self.verify
            if safe is True and self.url.startswith("https:"):
                safe = httpx.create_ssl_context()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_OPEN_S, ssl=safe),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.connect_s),
                cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": AGENT, "Accept": "*/*"},
                skip_auto_headers=("Accept-Encoding",),
            )
        return self._session

    async def close(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()


def _sendable(body: bytes | None) -> bytes | io.BytesIO | None:
    return io.BytesIO(body) if body is not None and len(body) > LARGE_BYTES else body


async def _pieces(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    try:
        while piece := await content.readany():
            yield piece
    except aiohttp.ClientError as error:
        raise _broken(error) from None


def _broken(error: aiohttp.ClientError) -> LineBroken:
    said = (str(error).splitlines() or [""])[0] or type(error).__name__
    return LineBroken(said, unanswered=isinstance(error, aiohttp.ClientConnectorError))


def _proxy_of(url: str) -> str | None:
    """The environment is read once, when the first request goes out."""
    at = httpx.URL(url)
    if urllib.request.proxy_bypass(at.host):
        return None
    known = urllib.request.getproxies()
    named = known.get(at.scheme) or known.get("all")
    return f"http://{named}" if named and "://" not in named else named


@dataclass(slots=True)
class _Inside:
    """To an app in this process."""

    transport: httpx.AsyncBaseTransport
    headers: dict[str, str]
    _closed: bool = field(default=False, init=False)

    @asynccontextmanager
    async def open(
        self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Streamed]:
        if self._closed:
            raise RuntimeError("the line is closed")
        given = {**self.headers, **(headers or {}), **({} if body is None else {"Content-Type": "application/json"})}
        try:
            answer = await self.transport.handle_async_request(httpx.Request(method, url, content=body, headers=given))
            try:
                yield Streamed(answer.status_code, answer.reason_phrase, answer.headers, answer.aiter_bytes())
            finally:
                await answer.aclose()
        except httpx.TimeoutException:
            raise TimeoutError from None
        except httpx.HTTPError as error:
            raise LineBroken(str(error) or type(error).__name__,
                             unanswered=isinstance(error, httpx.ConnectError)) from None

    async def close(self) -> None:
        self._closed = True
        await self.transport.aclose()
