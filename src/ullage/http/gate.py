"""How many bytes of request bodies a process takes in at once.

A body costs several times its size until it is answered: the bytes, the text parsed from them, its tokens. So it is
weighed before it is read, and refused whole when there is no room. A refused body is still read, and dropped piece by
piece: a connection that is closed under a client that still sends would lose the answer too.

The same place hears that a client went away while its answer was being made, and ends the work for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ullage.errors import DeadlineExceeded, Overloaded, TooLarge, UllageError
from ullage.http.disconnect import until_disconnect
from ullage.http.errors import error_response

BODY_TIMEOUT_S = 30.0
"""To send a body that was let in. A client that stalls must not keep the others out."""

DRAIN_TIMEOUT_S = 10.0
"""To send a body that was refused, before the answer comes anyway."""

RESERVED_SHARE, SMALL_SHARE = 8, 64
"""One part in eight of the capacity, beyond it, is for bodies of less than one part in 64: a body that fills the gate
does not shut them out, and they do not keep it out."""


class ByteGate:
    """Lets in bodies of `capacity_bytes` together, and one alone of up to `alone_bytes`.

    `closed` says why nothing else is let in while anything is inside; empty: the gate is open. `retry_after_s` is
    asked for the time after which a refused caller should come back.
    """

    def __init__(
        self, capacity_bytes: int, alone_bytes: int, *, retry_after_s: Callable[[], int] = lambda: 1
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.alone_bytes = max(alone_bytes, capacity_bytes)
        self.held_bytes = 0
        self.small_bytes = 0
        self.held = 0
        self.refused = 0
        self.closed = ""
        self.retry_after_s = retry_after_s

    @contextmanager
    def hold(self, size: int) -> Iterator[Ticket]:
        """Room for `size` bytes until the end of the block. Raises TooLarge or Overloaded."""
        ticket = Ticket(self)
        ticket.grow(size)
        self.held += 1
        try:
            yield ticket
        finally:
            self.held -= 1
            self.change(ticket.size, 0)

    def weigh(self, size: int, own: int) -> None:
        """Whether a body of `own` bytes may grow to `size`. Raises TooLarge or Overloaded."""
        if size > self.alone_bytes:
            self.refused += 1
            raise TooLarge(f"a request body of {size} bytes takes more memory than this service's plan leaves: "
                           f"send at most {self.alone_bytes} bytes, or raise the service's budget")
        others = self.held_bytes - own
        if (others and self.closed) or not self._fits(size, own):
            self.refused += 1
            wait_s = self.retry_after_s()
            why = self.closed or f"{others} bytes of requests are in work and {size} more exceed {self.capacity_bytes}"
            raise Overloaded(f"{why}: retry in {wait_s} s", retry_after_s=wait_s)

    def _fits(self, size: int, own: int) -> bool:
        """Whether there is room, not counting small bodies as far as the reserve goes."""
        reserve = self.capacity_bytes // RESERVED_SHARE
        small = self.small_bytes - self.small(own)
        before = self.held_bytes - own - min(small, reserve)
        after = self.held_bytes - own + size - min(small + self.small(size), reserve)
        return before <= 0 or after <= max(before, self.capacity_bytes)

    def small(self, size: int) -> int:
        """`size` when it is that of a small body, else 0."""
        return size if size <= self.capacity_bytes // SMALL_SHARE else 0

    def change(self, before: int, after: int) -> None:
        self.held_bytes += after - before
        self.small_bytes += self.small(after) - self.small(before)


class Ticket:
    """The bytes of one body inside the gate."""

    def __init__(self, gate: ByteGate) -> None:
        self._gate = gate
        self.size = 0

    def grow(self, size: int) -> None:
        """At least `size` bytes from now on. Raises TooLarge or Overloaded."""
        if size > self.size:
            self._gate.weigh(size, self.size)
            self._gate.change(self.size, size)
            self.size = size


class GateMiddleware:
    """Weighs the body of every request that has one, and ends the work for a client that went away.

    The declared length counts from the start.
    """

    def __init__(self, app: ASGIApp, *, gate: ByteGate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("POST", "PUT", "PATCH"):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        try:
            with self._gate.hold(_declared(scope)) as ticket:
                app = self._app(scope, body.reader(ticket), body.answering(send))
                # No coroutine function by the signature of an ASGI app, but every one is.
                await until_disconnect(body.after, cast("Coroutine[Any, Any, None]", app))
        except UllageError as error:
            if body.answered:  # at least in part: nothing else can be sent
                return
            await body.drain()
            await error_response(error)(scope, receive, send)


class _Body:
    """One request's body as it comes in."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._seen = 0
        self._more = True
        self._complete = asyncio.Event()
        self._refusal: UllageError | None = None
        self._ended = False
        self.answered = False

    def reader(self, ticket: Ticket) -> Receive:
        until = asyncio.get_running_loop().time() + BODY_TIMEOUT_S

        async def read() -> Message:
            if not self._more:
                return await self._receive()
            try:
                async with asyncio.timeout_at(until):
                    message = await self._receive()
            except TimeoutError:
                self._refusal = DeadlineExceeded(f"the request body did not arrive within {BODY_TIMEOUT_S:g} s")
                raise self._refusal from None
            self._note(message)
            try:
                ticket.grow(self._seen)
            except UllageError as error:
                self._refusal = error
                raise
            return message

        return read

    def answering(self, send: Send) -> Send:
        """Frameworks turn an error while the body is read into a 400 of their own: put the real one back."""

        async def answer(message: Message) -> None:
            if self._refusal is not None and not self.answered:
                raise self._refusal
            self.answered = True
            self._ended = message["type"] == "http.response.body" and not message.get("more_body")
            await send(message)

        return answer

    def _note(self, message: Message) -> None:
        self._seen += len(message.get("body", b""))
        self._more = message["type"] == "http.request" and bool(message.get("more_body"))
        if not self._more:
            self._complete.set()

    async def after(self) -> Message:
        """What comes once the body was read: that the client went away. Nothing any more once it is answered."""
        await self._complete.wait()
        message = await self._receive()
        if self._ended:
            await asyncio.Event().wait()
        return message

    async def drain(self) -> None:
        """Read what is still sent and keep nothing of it."""
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while self._more:
                    self._note(await self._receive())
        except TimeoutError:
            self._more = False


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
