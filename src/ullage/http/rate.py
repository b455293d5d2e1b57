"""So many requests a second from one address, where `rate_limit` says so; health is not counted."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from ullage.errors import Overloaded
from ullage.http.errors import error_response
from ullage.http.keys import OPEN

BURST_S = 2.0
"""Seconds of the rate that may come at once."""

ADDRESSES = 10_000
"""Remembered at most; the one that was silent longest is forgotten, which gives it a full burst."""


class RateMiddleware:
    """A bucket of tokens for each address; 503 with `Retry-After` when it is empty, before keys are looked at."""

    def __init__(self, app: ASGIApp, *, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._per_s = per_s
        self._full = max(1.0, per_s * BURST_S)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if scope["type"] != "http" or client is None or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        wait_s = self._take(client[0])
        if wait_s <= 0:
            await self._app(scope, receive, send)
            return
        error = Overloaded(f"more than {self._per_s:g} requests a second from {client[0]} (rate_limit): send fewer",
                           retry_after_s=math.ceil(wait_s))
        await error_response(error)(scope, receive, send)

    def _take(self, address: str) -> float:
        """0 when there was a token, else the seconds until there is one."""
        now = self._clock()
        tokens, before = self._buckets.pop(address, (self._full, now))
        tokens = min(self._full, tokens + (now - before) * self._per_s)
        taken = tokens >= 1
        self._buckets[address] = (tokens - taken, now)
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return 0.0 if taken else (1 - tokens) / self._per_s
