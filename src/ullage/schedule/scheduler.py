"""Lay the rows of many requests into batches bounded in tokens, and run them on one or several engines.

A request is admitted as a whole or refused at once. Requests in flight share compute by tokens, so a call of 512
rows does not starve a call of five. A caller that is cancelled stops costing compute before the next batch.
A batch that an engine has no memory for is run as two, and batches are smaller until memory comes back.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from ullage.engines.base import Engine, Row, Usage
from ullage.errors import NotReady, Overloaded, TooLong
from ullage.schedule.cache import ScoreCache, row_key
from ullage.schedule.counters import Counters
from ullage.schedule.device import Device
from ullage.schedule.request import Item, Reduce, Request, Reservation, T, Times
from ullage.schedule.worker import Turns, Work, Worker

log = structlog.get_logger("ullage.schedule")

RESERVED_SHARE, SMALL_SHARE = 8, 64
"""One part in eight of the queue, beyond it, is for requests of less than one part in 64: a request that fills the
queue does not shut them out, and they do not keep it out."""

IN_TIME_SHARE = 0.75
"""Of what could be computed within `queue_s`, as much is admitted: shares are not exactly equal, and rates change."""

LARGE_PRICE = 4
"""Small requests together get four times the tokens of the large ones beside them: who asks for little waits little,
and large requests keep a fifth beside a saturating stream of small ones."""


class Scheduler:
    """One queue before one or several engines of the same model, one worker thread each; `names` are for the logs.

    `max_batch_tokens` and `max_batch_rows` bound a batch, `max_row_tokens` a row, `queue_tokens` and `queue_requests`
    everything admitted and not yet done; one request alone may be larger, and small ones find a reserve. With `queue_s`
    no more is admitted than is done within so many seconds at the measured rate: what would be given up half done must
    not take compute from others. With `turn_s` a batch takes about that long at the measured rate, so that nobody
    waits long for the next. A batch waits up to `batch_wait_s` to fill. `ahead` batches wait behind the one an engine
    runs, so that a fast one need not wait for the event loop; who arrives then waits for one more. `on_fit` hears why
    no engine can take one longest row, and "" when one can again; `unfit` keeps what it heard last.
    """

    def __init__(
        self,
        engines: Engine | Sequence[Engine],
        *,
        names: Sequence[str] = (),
        max_batch_tokens: int,
        max_row_tokens: int | None = None,
        max_batch_rows: int | None = None,
        queue_tokens: int = 1 << 18,
        queue_requests: int = 1024,
        queue_s: float | None = None,
        turn_s: float | None = None,
        batch_wait_s: float = 0.0,
        ahead: int = 0,
        cache_bytes: int = 0,
        on_fit: Callable[[str], None] = lambda _: None,
    ) -> None:
        found: Sequence[Engine] = engines if isinstance(engines, Sequence) else [engines]
        self._max_row_tokens = min(max_row_tokens or max_batch_tokens, max_batch_tokens)
        self._queue_tokens = max(queue_tokens, max_batch_tokens)
        self._least_queue_tokens = max_batch_tokens
        self._queue_requests = queue_requests
        self._queue_s = queue_s
        self._on_fit = on_fit
        self.devices = [
            Device(engine, name, max_batch_tokens=max_batch_tokens, max_row_tokens=self._max_row_tokens)
            for engine, name in zip(found, names or map(str, range(len(found))), strict=True)
        ]
        self.cache = ScoreCache(cache_bytes)
        self.unfit = ""
        self._work = Work(self.devices, self.cache, Turns(turn_s, batch_wait_s, max_batch_rows, ahead), self._tell)
        self._work.idle.set()
        self._queue = self._work.queue
        self._tasks: list[asyncio.Task[None]] = []
        self._order = 0
        self._held = ""
        self._small_tokens = 0
        self._reserved_tokens = 0

    @property
    def counters(self) -> Counters:
        counted = self._work.counters
        counted.queued_tokens = self._queue.queued_tokens
        counted.running_tokens = sum(device.running_tokens for device in self.devices)
        counted.expired = self._queue.expired
        return counted

    @property
    def idle(self) -> bool:
        """Whether nothing is in flight and nothing is reserved."""
        counted = self.counters
        return not (counted.queued_tokens or counted.running_tokens or self._reserved_tokens)

    @property
    def batch_tokens_cap(self) -> int:
        """The largest batch that any engine is given now, in tokens."""
        return max(device.cap.tokens for device in self.devices)

    @property
    def batch_tokens_planned(self) -> int:
        return max(device.cap.planned for device in self.devices)

    async def start(self) -> None:
        """Load the engines, each in its own thread, then begin to serve. Raises what `Engine.load` raises."""
        for device in self.devices:
            await device.load()
        self._tasks = [asyncio.create_task(Worker(self._work, device).serve(), name=f"engine-{device.name}")
                       for device in self.devices]

        for task in self._tasks:
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A worker ends when it is cancelled or its engine is lost; anything else must not pass in silence."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a worker ended", exc_info=error)
            self._on_fit(f"the scheduler failed: {type(error).__name__}: {error}")

    async def close(self) -> None:
        """Finish what was admitted, refuse the rest, give the engines' memory back. Idempotent."""
        if self._work.closing:
            return
        self._work.closing = True
        if self._tasks:
            self._work.arrived.set()
            await self._work.idle.wait()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for device in self.devices:
            await device.close()

    async def usage(self) -> list[Usage]:
        """What the engines hold on their devices, as far as they can tell. Waits for the batches under way."""
        found = await asyncio.gather(*(device.usage() for device in self.devices if device.state != "lost"))
        return [usage for usage in found if usage is not None]

    def hold(self, reason: str) -> None:
        """Refuse new requests as long as any is in flight: memory is short. One at a time still gets in."""
        self._held = reason

    def resume(self) -> None:
        self._held = ""

    def lower_caps(self) -> None:
        """Smaller batches from now on, as after running out of memory."""
        for device in self.devices:
            self._work.lower(device, device.cap.tokens)

    async def submit(
        self,
        rows: Sequence[Row],
        reduce: Reduce[T],
        *,
        pure: str = "",
        deadline: float | None = None,
        times: Times | None = None,
        held: Reservation | None = None,
    ) -> list[T]:
        """Run `rows` and return one reduced result each, in order.

        `pure` names a reduction whose result depends on the row alone and is never changed by who receives it: equal
        rows in flight are then computed once, and found in the score cache. `deadline` is a time of `time.monotonic`
        after which the rows are not computed. `times` is filled with the seconds of the phases. With `held` the rows
        take the room that was reserved for them, and are not refused.

        Raises TooLong for a row no batch can hold, Overloaded when the queue has no room for all the rows, NotReady
        when stopping, DeadlineExceeded, OutOfMemory or EngineFailed when the engine did.
        """
        if not rows:
            return []
        self._check_rows(rows)
        begun = time.perf_counter()
        request = self._request(reduce, deadline)
        items = self._items(request, rows, pure)
        try:
            if items:
                self._admit(request, items, held)
                await request.done
        finally:
            self._forget(request, times, begun)
        return request.results

    async def submit_parts(
        self, parts: AsyncIterator[Sequence[Row]], reduce: Reduce[T], *, about: int, pure: str = "",
        times: Times | None = None
    ) -> list[T]:
        """As `submit`, of rows that come in parts, computed from the first part on. Together they are one request of
        `about` tokens: so it is admitted, and so it shares with others. Raises what `parts` raises too."""
        begun = time.perf_counter()
        request = self._request(reduce, None)
        request.unfinished = 1  # until the last part is here
        with self.reserve(about) as held:
            try:
                async for rows in parts:
                    self._check_rows(rows)
                    items = self._items(request, rows, pure)
                    self._admit(request, items, held, small=held.small)
                    if request.done.done():
                        break
                request.close()
                await request.done
            finally:
                self._forget(request, times, begun)
        return request.results

    def _check_rows(self, rows: Sequence[Row]) -> None:
        if self._work.closing or not self._tasks:
            raise NotReady("the service is stopping" if self._work.closing else "the engine is not loaded yet")
        longest = max((row.tokens for row in rows), default=0)
        if longest > self._max_row_tokens:
            raise TooLong(f"Input length {longest} exceeds maximum allowed token size {self._max_row_tokens}")

    def _request(self, reduce: Reduce[T], deadline: float | None) -> Request:
        self._order += 1
        return Request(reduce, asyncio.get_running_loop().create_future(), [], self._order, deadline)

    def check_room(self, tokens: int) -> None:
        """Raises Overloaded when a request of about so many tokens would be refused: before they are counted, which
        costs compute that those who were admitted wait for. What the cache may answer is let through.
        """
        if not self.cache.capacity_bytes:
            self._check_room(tokens)

    @contextmanager
    def reserve(self, tokens: int) -> Iterator[Reservation]:
        """Room for all the rows of a request that is submitted in steps. Raises Overloaded when there is none."""
        self._check_all(tokens)
        held = Reservation(tokens, small=self._small(tokens))
        self._hold_back(held, tokens)
        try:
            yield held
        finally:
            self._hold_back(held, -held.tokens)

    def _hold_back(self, held: Reservation, tokens: int) -> None:
        self._reserved_tokens += tokens
        self._small_tokens += tokens if held.small else 0

    def _check_all(self, tokens: int) -> None:
        """Raises Overloaded when a request of so many tokens cannot be admitted."""
        self._check_room(tokens)
        if len(self._queue) >= self._queue_requests:
            self._refuse(f"{len(self._queue)} requests are waiting, as many as queue_requests allows")
        if self._held and len(self._queue):
            self._refuse(self._held)

    def _check_room(self, tokens: int) -> None:
        counted = self.counters
        in_flight = counted.queued_tokens + counted.running_tokens + self._reserved_tokens
        if not self._fits(in_flight, tokens):
            room = self.room_tokens()
            why = "the queue" if room == self._queue_tokens else f"what is done within {self._queue_s:g} s, a queue"
            self._refuse(f"{in_flight} tokens are waiting and {tokens} more exceed {why} of {room}")

    def _items(self, request: Request, rows: Sequence[Row], pure: str) -> list[Item]:
        """What has to be computed for more rows of a request: new items, and those that others wait for already."""
        items: dict[int, Item] = {}
        own: dict[bytes, Item] = {}
        first, before = len(request.results), len(request.wants)
        request.results += [None] * len(rows)
        for index, row in enumerate(rows, start=first):
            key = row_key(pure, row) if pure else None
            known = self.cache.get(key) if key is not None else None
            if known is not None:
                request.results[index] = known
                self._work.counters.cached += 1
                continue
            item = own.get(key) if key is not None else None
            item = item or self._queue.find(key)
            if item is not None and any(waiter is request for waiter, _ in item.waiters):
                item, key = None, None  # of an earlier part: rows that are equal and far apart are computed twice
            if item is None:
                item = Item(row, key)
            else:
                self._work.counters.shared += 1
            if key is not None:
                own[key] = item
            items[id(item)] = item
            request.wants.append((item, index))
        request.unfinished += len(request.wants) - before
        return list(items.values())

    def _admit(
        self, request: Request, items: list[Item], held: Reservation | None, *, small: bool | None = None
    ) -> None:
        """The items that a request wants since it was last here. `small` is its class, where its tokens do not say."""
        wants = request.wants[request.admitted :]
        request.admitted = len(request.wants)
        tokens = sum(item.tokens for item, _ in wants)
        request.tokens += tokens
        if held is None:
            self._check_all(tokens)
        else:
            spent = min(held.tokens, tokens)
            held.tokens -= spent
            self._hold_back(held, -spent)
        for item, index in wants:
            item.waiters.append((request, index))
        request.small = self._small(tokens) if small is None else small
        self._small_tokens += tokens if request.small else 0
        request.price = 1 if request.small else LARGE_PRICE
        self._queue.add(request, items)
        self._work.idle.clear()
        self._work.arrived.set()

    def _small(self, tokens: int) -> bool:
        return tokens <= self._queue_tokens // SMALL_SHARE

    def _fits(self, in_flight: int, tokens: int) -> bool:
        """Whether the queue has room for a request, not counting small ones as far as the reserve goes."""
        room = self.room_tokens()
        reserve = room // RESERVED_SHARE
        small = self._small_tokens + (tokens if self._small(tokens) else 0)
        before = in_flight - min(self._small_tokens, reserve)
        after = in_flight + tokens - min(small, reserve)
        return before <= 0 or after <= max(before, room)

    def room_tokens(self) -> int:
        """Tokens that may be in flight now: `queue_tokens`, or fewer where compute is slow."""
        if self._queue_s is None or not self._rate():
            return self._queue_tokens
        return min(self._queue_tokens, max(self._least_queue_tokens, int(self._rate() * self._queue_s * IN_TIME_SHARE)))

    def _rate(self) -> float:
        """Measured tokens per second of all engines; 0 as long as one of them has not shown its own."""
        rates = [device.known_rate() for device in self.devices if device.state != "lost"]
        return 0.0 if None in rates else sum(rate or 0.0 for rate in rates)

    def _refuse(self, why: str) -> None:
        self._work.counters.refused += 1
        wait_s = self.retry_after_s()
        raise Overloaded(f"{why}: retry in {wait_s} s", retry_after_s=wait_s)

    def retry_after_s(self) -> int:
        """Seconds until what is in flight is done at the measured rate, at least 1."""
        counted = self.counters
        if not self._rate():
            return 1
        return max(1, min(600, math.ceil((counted.queued_tokens + counted.running_tokens) / self._rate())))

    def _forget(self, request: Request, times: Times | None, begun: float) -> None:
        """Drop rows that have not run yet: the caller has its results, an error, or went away."""
        if self._queue.drop(request) and request.small:
            self._small_tokens -= request.tokens
        self._work.counters.abandoned += request.done.cancelled()
        self._work.settle()
        if times is not None:
            times.compute_s = request.compute_s
            times.queue_s = time.perf_counter() - begun - request.compute_s

    def _tell(self) -> None:
        reasons = [device.reason for device in self.devices if device.state == "unfit"]
        fit = any(device.state == "fit" for device in self.devices)
        now = "" if fit or not reasons else reasons[0]
        if now != self.unfit:
            self.unfit = now
            self._on_fit(now)
