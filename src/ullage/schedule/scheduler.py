"""Lay the rows of many requests into batches bounded in tokens, and run them one batch at a time.

A request is admitted as a whole or refused at once. Requests in flight take turns, a row each, so a call of 512
rows does not starve a call of five. A caller that is cancelled stops costing compute before the next batch.
A batch that the engine has no memory for is run as two, and batches are smaller from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ullage.engines.base import Batch, Engine, Float32, Row
from ullage.errors import EngineFailed, NotReady, OutOfMemory, Overloaded, TooLong, UllageError

T = TypeVar("T")
R = TypeVar("R")
Reduce = Callable[[int, Float32, Float32 | None], T]
"""From (row index in the request, output [width], token vectors [n, hidden] or None) to what the caller keeps.

Called in the engine's thread; the token vectors are a view and must not outlive the call.
"""


@dataclass(slots=True)
class Counters:
    """What the metrics show; all monotonic but the two gauges."""

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    refused: int = 0
    failures: int = 0
    splits: int = 0
    compute_s: float = 0.0
    queued_tokens: int = 0
    running_tokens: int = 0


@dataclass(slots=True, eq=False)
class _Request(Generic[T]):
    rows: Sequence[Row]
    reduce: Reduce[T]
    done: asyncio.Future[None]
    results: list[Any]
    waiting: deque[int] = field(default_factory=deque)
    unfinished: int = 0

    def fail(self, error: Exception) -> None:
        """Tell the waiter, once, and in the terms of errors.py."""
        if not self.done.done():
            known = isinstance(error, UllageError)
            self.done.set_exception(error if known else EngineFailed(f"{type(error).__name__}: {error}"))


_Taken = list[tuple[_Request[Any], int]]
"""(request, index of its row), in batch order."""


class Scheduler:
    """One engine, one worker thread.

    `max_batch_tokens` bounds a batch, `max_row_tokens` a row, `queue_tokens` everything admitted and not yet done.
    """

    def __init__(
        self, engine: Engine, *, max_batch_tokens: int, max_row_tokens: int | None = None, queue_tokens: int = 1 << 18
    ) -> None:
        self._engine = engine
        self._max_batch_tokens = max_batch_tokens
        self._max_row_tokens = min(max_row_tokens or max_batch_tokens, max_batch_tokens)
        self._queue_tokens = max(queue_tokens, max_batch_tokens)
        self._requests: deque[_Request[Any]] = deque()
        self._arrived = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.counters = Counters()

    async def start(self) -> None:
        """Load the engine in its own thread, then begin to serve. Raises what `Engine.load` raises."""
        await self._in_thread(self._engine.load)
        self._task = asyncio.create_task(self._serve(), name="scheduler")

    async def close(self) -> None:
        """Finish what was admitted, refuse the rest, give the engine's memory back. Idempotent."""
        if self._closing:
            return
        self._closing = True
        if self._task is not None:
            await self._idle.wait()
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self._in_thread(self._engine.close)
        self._thread.shutdown(wait=True)

    async def submit(self, rows: Sequence[Row], reduce: Reduce[T]) -> list[T]:
        """Run `rows` and return one reduced result each, in order.

        Raises TooLong for a row no batch can hold, Overloaded when the queue has no room for all the rows,
        NotReady when stopping, OutOfMemory or EngineFailed when the engine did.
        """
        if not rows:
            return []
        if self._closing or self._task is None:
            raise NotReady("the service is stopping" if self._closing else "the engine is not loaded yet")
        longest = max(row.tokens for row in rows)
        if longest > self._max_row_tokens:
            raise TooLong(f"Input length {longest} exceeds maximum allowed token size {self._max_row_tokens}")
        self._admit(sum(row.tokens for row in rows))
        loop = asyncio.get_running_loop()
        request = _Request(rows, reduce, loop.create_future(), [None] * len(rows), deque(range(len(rows))), len(rows))
        self._requests.append(request)
        self._idle.clear()
        self._arrived.set()
        try:
            await request.done
        finally:
            self._forget(request)
        return request.results

    def _admit(self, tokens: int) -> None:
        in_flight = self.counters.queued_tokens + self.counters.running_tokens
        if in_flight and in_flight + tokens > self._queue_tokens:
            self.counters.refused += 1
            wait_s = self._wait_s(in_flight)
            raise Overloaded(
                f"{in_flight} tokens are waiting and {tokens} more exceed the queue of {self._queue_tokens}: "
                f"retry in {wait_s} s",
                retry_after_s=wait_s,
            )
        self.counters.queued_tokens += tokens

    def _wait_s(self, tokens: int) -> int:
        """Seconds until `tokens` are done at the measured rate, at least 1."""
        rate = self.counters.tokens / self.counters.compute_s if self.counters.compute_s else float("inf")
        return max(1, min(600, round(tokens / rate)))

    def _forget(self, request: _Request[Any]) -> None:
        """Drop rows that have not run yet: the caller has its results, an error, or went away."""
        self.counters.queued_tokens -= sum(request.rows[i].tokens for i in request.waiting)
        request.waiting.clear()
        with contextlib.suppress(ValueError):
            self._requests.remove(request)
        if not self._requests and not self.counters.running_tokens:
            self._idle.set()

    def _next_batch(self) -> _Taken:
        """Take rows in turn, one from each request, as long as one fits.

        Whoever had to stand back first opens the next batch, so a long row waits for one round at most.
        """
        taken: _Taken = []
        room = self._max_batch_tokens
        first_to_wait: _Request[Any] | None = None
        active = deque(request for request in self._requests if request.waiting and not request.done.done())
        while active:
            request = active.popleft()
            tokens = request.rows[request.waiting[0]].tokens
            if tokens > room:
                first_to_wait = first_to_wait or request
                continue
            room -= tokens
            taken.append((request, request.waiting.popleft()))
            if request.waiting:
                active.append(request)
        if self._requests:
            self._requests.rotate(-self._requests.index(first_to_wait) if first_to_wait else -1)
        return taken

    async def _serve(self) -> None:
        while True:
            taken = self._next_batch()
            if not taken:
                self._arrived.clear()
                await self._arrived.wait()
                continue
            await self._run(taken)

    async def _run(self, taken: _Taken) -> None:
        tokens = _tokens(taken)
        self.counters.queued_tokens -= tokens
        self.counters.running_tokens = tokens
        try:
            pieces = [taken]
            while pieces:
                wanted = [(request, index) for request, index in pieces.pop() if not request.done.done()]
                if wanted:
                    pieces += await self._attempt(wanted)
        finally:
            self.counters.running_tokens = 0
        if not self._requests:
            self._idle.set()

    async def _attempt(self, taken: _Taken) -> list[_Taken]:
        """Run one batch and tell its waiters; gives back the halves of one that did not fit in memory."""
        try:
            unreduced = await self._in_thread(lambda: self._compute(taken))
        except Exception as error:  # every waiter of this batch must hear of it, whatever it is
            if isinstance(error, OutOfMemory) and len(taken) > 1:
                self.counters.splits += 1
                self._max_batch_tokens = max(self._max_row_tokens, min(self._max_batch_tokens, _tokens(taken) // 2))
                half = len(taken) // 2
                return [taken[half:], taken[:half]]
            self.counters.failures += 1
            for request, _ in taken:
                request.fail(error)
            return []
        for request, fault in unreduced:
            request.fail(fault)
        for request, _ in taken:
            request.unfinished -= 1
            if request.unfinished == 0 and not request.done.done():
                request.done.set_result(None)
        return []

    def _compute(self, taken: _Taken) -> list[tuple[_Request[Any], Exception]]:
        """Run a batch and reduce its rows; gives back the requests whose own reduction failed."""
        unreduced: list[tuple[_Request[Any], Exception]] = []
        begun = time.perf_counter()
        batch = Batch.lay([request.rows[index] for request, index in taken])
        output = self._engine.run(batch)
        for position, (request, index) in enumerate(taken):
            vectors = None if output.tokens is None else output.tokens[batch.row(position)]
            try:
                request.results[index] = request.reduce(index, output.rows[position], vectors)
            except Exception as error:  # one caller's fault must not fail the others of its batch
                unreduced.append((request, error))
        self.counters.compute_s += time.perf_counter() - begun
        self.counters.batches += 1
        self.counters.rows += batch.rows
        self.counters.tokens += batch.tokens
        return unreduced

    async def _in_thread(self, call: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _tokens(taken: _Taken) -> int:
    return sum(request.rows[index].tokens for request, index in taken)
