"""One caller's rows on their way through the scheduler."""

from __future__ import annotations

import asyncio
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ullage.engines.base import Float32, Row
from ullage.errors import EngineFailed, UllageError

T = TypeVar("T")
_counting = threading.Lock()
Reduce = Callable[[int, Float32, Float32 | None], T]
"""From (row index in the request, output [width], token vectors [n, hidden] or None) to what the caller keeps.

Called in the engine's thread; the token vectors are a view and must not outlive the call.
"""


@dataclass(slots=True)
class Times:
    """Seconds of one request: `compute_s` while at least one of its rows was in an engine, `queue_s` the rest."""

    queue_s: float = 0.0
    compute_s: float = 0.0


@dataclass(slots=True)
class Reservation:
    """`tokens` are those not yet submitted of a request that comes in steps."""

    tokens: int
    small: bool


@dataclass(slots=True, eq=False)
class Item:
    """One row to compute, for everybody who waits for it.

    Only rows with a `key`, whose result is a pure function of the row, have more than one waiter.
    """

    row: Row
    key: bytes | None = None
    waiters: list[tuple[Request, int]] = field(default_factory=list)
    taken: bool = False

    @property
    def tokens(self) -> int:
        return self.row.tokens


@dataclass(slots=True, eq=False)
class Request:
    """`wants` says which item answers which row, `waiting` are items not yet taken, shortest first; of the first
    `admitted` of `wants` the queue knows.

    `served` is its share of compute so far in tokens, among those of the same `price`; `seen` is when it first waited
    for its turn. `expires` is a time of `time.monotonic`, or None.
    """

    reduce: Reduce[Any]
    done: asyncio.Future[None]
    results: list[Any]
    order: int
    expires: float | None = None
    wants: list[tuple[Item, int]] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    waiting: list[Item] = field(default_factory=list)
    tokens: int = 0
    queued_tokens: int = 0
    unfinished: int = 0
    served: int = 0
    seen: float = 0.0
    price: int = 1
    small: bool = False
    admitted: int = 0
    running: int = 0
    begun_s: float = 0.0
    compute_s: float = 0.0

    def next(self, like: int | None, room: int) -> Item | None:
        """Take out the waiting item of at most `room` tokens that is nearest below `like`; without `like` the longest.

        Rows of one length waste the least where an engine pads.
        """
        waiting = self.waiting
        while waiting:
            fitting = bisect_right(waiting, room, key=length)
            place = fitting if like is None else min(fitting, max(1, bisect_right(waiting, like, key=length)))
            if place == 0:
                return None
            item = waiting.pop(place - 1)
            if not item.taken:
                return item
        return None

    def begin(self) -> None:
        """One of its rows enters an engine. Called in that engine's thread, as `end` is."""
        with _counting:
            if self.running == 0:
                self.begun_s = time.perf_counter()
            self.running += 1

    def end(self) -> None:
        """One of its rows left an engine."""
        with _counting:
            self.running -= 1
            if self.running == 0:
                self.compute_s += time.perf_counter() - self.begun_s

    def keep(self, index: int, value: Any) -> None:
        self.results[index] = value
        self.close()

    def close(self) -> None:
        """One less of what it waits for: a row, or whether more rows come."""
        self.unfinished -= 1
        if self.unfinished == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """Tell the waiter, once, and in the terms of errors.py."""
        if not self.done.done():
            known = isinstance(error, UllageError)
            self.done.set_exception(error if known else EngineFailed(f"{type(error).__name__}: {error}"))


def length(item: Item) -> int:
    """In tokens; what waiting items are sorted by."""
    return item.row.tokens
