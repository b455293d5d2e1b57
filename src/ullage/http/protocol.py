"""The HTTP/1.1 parser of our servers: uvicorn's on httptools, which costs less than h11 but lacks two things of it."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
"""Of a request line with its headers, or of the trailers after a body, while they are still incomplete."""

TOO_LONG = f"Request head over {MAX_HEAD_BYTES} bytes."


class BoundedHttp(HttpToolsProtocol):
    """Bounds heads, and serves a request for an upgrade that we do not speak as the plain request that it is too.

    It answers 400 and closes once MAX_HEAD_BYTES came in that ended no head, no piece of a body and no message. What
    comes in one read with the end of its head is let through: what is kept stays under the bound and one read.

    httptools ends a request for an upgrade (Java's client asks for "h2c" with its first one) at its head and calls
    its body the new protocol's first bytes. So such a head is parsed a second time, without its `Upgrade`.
    """

    _loose_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._loose_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse("Invalid HTTP request received.")
        else:
            if self._loose_bytes > MAX_HEAD_BYTES:
                self._refuse(TOO_LONG)

    def _feed(self, data: bytes) -> None:
        """Raises HttpParserError."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self._unspoken():
                self.handle_websocket_upgrade()
                return
            head, rest = self._plain_head(), data[upgrade.args[0]:]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
            self.parser.feed_data(head)
            if rest:
                self._feed(rest)

    def _unspoken(self) -> bool:
        return self.parser.should_upgrade() and not self._should_upgrade()

    def _plain_head(self) -> bytes:
        line = b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        return line + b"".join(b"%b: %b\r\n" % pair for pair in self.headers if pair[0] != b"upgrade") + b"\r\n"

    def _refuse(self, why: str) -> None:
        if not self.transport.is_closing():
            self.logger.warning(why)
            self.send_400_response(why)

    def on_headers_complete(self) -> None:
        self._loose_bytes = 0
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("no proxy")
        if self._unspoken():
            return
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = cast("asyncio.Transport", _Together(self.transport, self.loop))

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._loose_bytes = 0
        if not self._unspoken():
            super().on_message_complete()


class _Together:
    """Sends the head of an answer with what follows it in the same turn of the event loop: one packet, one wake-up of
    the client. Each costs 0.1 to 0.2 ms."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head: bytes | None = None
        self._begun = False

    def write(self, data: bytes) -> None:
        if self._begun:
            self._flush(data)
        else:
            self._begun, self._head = True, data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self, data: bytes = b"") -> None:
        head, self._head = self._head or b"", None
        if head or data:
            self._transport.write(head + data if head else data)
