"""The rows that wait, and whose turn it is.

Small and large requests are two classes that share compute by tokens, where a token of the large class counts for
several: neither waits long for the other, however many there are of either. Inside a class the next row is one of the
request that was served least, and who waits longer is ahead by a turn for each second. Who arrives, class or request,
begins where the one served last began, so it neither waits for those already here nor pushes them aside (start-time
fair queueing, twice).

Equal shares alone would starve the longest requests under overload: each new one takes a share of its own, and what
was admitted to be done in 32 s was given up after 120, its compute lost (goodput 88 % of capacity; 100 % this way).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ullage.errors import DeadlineExceeded
from ullage.schedule.request import Item, Request, length

TURNS_A_SECOND = 1.0
"""Turns of rows by which a request is ahead of one that came a second later: requests of like age share, and none is
overtaken for long."""


@dataclass(slots=True)
class Class:
    """Requests of one price. `served` is its share of compute so far, tokens times price; `begun` is where a request
    that arrives begins; `busy` says whether rows of it waited when a batch was last cut."""

    served: int = 0
    begun: int = 0
    busy: bool = False


class FairQueue:
    """`queued_tokens` are the tokens of rows not yet taken, once for each request that waits for one."""

    def __init__(self) -> None:
        self.queued_tokens = 0
        self.expired = 0
        self._requests: dict[Request, None] = {}
        self._items: dict[bytes, Item] = {}
        self._classes: dict[int, Class] = {}
        self._served = 0

    def __len__(self) -> int:
        return len(self._requests)

    def find(self, key: bytes | None) -> Item | None:
        """The item that computes this row already."""
        return None if key is None else self._items.get(key)

    def add(self, request: Request, items: Iterable[Item]) -> None:
        """Admit a request with the items it waits for, or with more of them; those it shares may be under way."""
        added = list(items)
        request.items += added
        if request not in self._requests:
            request.served = self._class(request.price).begun
            self._requests[request] = None
        for item in added:
            if item.key is not None:
                self._items[item.key] = item
        self._wait(request, [item for item in added if not item.taken])

    def _wait(self, request: Request, items: list[Item]) -> None:
        request.waiting += items
        request.waiting.sort(key=length)
        tokens = sum(item.tokens * sum(waiter is request for waiter, _ in item.waiters) for item in items)
        request.queued_tokens += tokens
        self.queued_tokens += tokens

    def drop(self, request: Request) -> bool:
        """Forget a request and the rows that only it waits for. False when it was not admitted."""
        if self._requests.pop(request, self) is self:
            return False
        self.queued_tokens -= request.queued_tokens
        request.queued_tokens = 0
        request.waiting.clear()
        if request.unfinished:
            for item in request.items:
                item.waiters = [waiter for waiter in item.waiters if waiter[0] is not request]
                if not item.waiters:
                    self.settle(item)
        request.items = []
        return True

    def settle(self, item: Item) -> None:
        """The item has its result, or nobody waits for it: the next equal row is a new item."""
        if item.key is not None and self._items.get(item.key) is item:
            del self._items[item.key]

    def take(self, most_tokens: int, turn_tokens: int, most_rows: int | None, now: float) -> list[Item]:
        """The next batch: about `turn_tokens`, and `most_tokens` for a row that is longer than that.

        The request served least opens it with its longest row; the others add rows of like length as long as one fits.
        Small requests and large ones run apart: a row that takes a whole turn would double the time of a short one.
        """
        live = self._live(now)
        self._wake(live)
        for price in sorted(live, key=lambda price: (self._class(price).served, price)):
            if taken := self._batch(live[price], self._class(price), most_tokens, turn_tokens, most_rows, now):
                chosen = self._class(price)
                self._served = max(self._served, chosen.served)
                chosen.served += price * sum(item.tokens for item in taken)
                return taken
        return []

    def _class(self, price: int) -> Class:
        return self._classes.setdefault(price, Class())

    def _wake(self, live: Mapping[int, list[Request]]) -> None:
        """A class that had nothing to do has saved nothing up."""
        for price in live:
            if not self._class(price).busy:
                self._class(price).served = max(self._class(price).served, self._served)
        for price, known in self._classes.items():
            known.busy = price in live

    def _batch(
        self, requests: list[Request], whose: Class, most_tokens: int, turn_tokens: int, most_rows: int | None,
        now: float,
    ) -> list[Item]:
        heap = [(request.served - int(turn_tokens * TURNS_A_SECOND * (now - request.seen)), request.order, request)
                for request in requests]
        heapq.heapify(heap)
        taken: list[Item] = []
        room, like = most_tokens, None
        while heap and (most_rows is None or len(taken) < most_rows):
            rank, order, request = heapq.heappop(heap)
            item = request.next(like, room)
            if item is None:
                continue
            if like is None:
                like = item.tokens
                room = max(like, min(most_tokens, turn_tokens))
            room -= item.tokens
            whose.begun = max(whose.begun, request.served)
            request.served += item.tokens
            self._mark_taken(item)
            taken.append(item)
            if request.waiting:
                heapq.heappush(heap, (rank + item.tokens, order, request))
        return taken

    def _live(self, now: float) -> dict[int, list[Request]]:
        """Requests with rows that wait, by price. Tells those whose deadline passed."""
        live: dict[int, list[Request]] = {}
        for request in list(self._requests):
            if not request.waiting or request.done.done():
                continue
            if not request.seen:
                request.seen = now
            if request.expires is not None and request.expires <= now:
                self.expired += 1
                request.fail(DeadlineExceeded("the deadline passed before the request had its turn: send less"))
            else:
                live.setdefault(request.price, []).append(request)
        return live

    def _mark_taken(self, item: Item) -> None:
        item.taken = True
        for request, _ in item.waiters:
            request.queued_tokens -= item.tokens
            self.queued_tokens -= item.tokens

    def give_back(self, items: Iterable[Item]) -> None:
        """Items that were taken and not computed wait again, in front of their requests' turn."""
        for item in items:
            item.taken = False
            for request in dict.fromkeys(request for request, _ in item.waiters):
                request.served = min(request.served, self._class(request.price).begun)
                self._wait(request, [item])

    def waiting_tokens(self, enough: int) -> int:
        """Tokens of rows that could run now, counted up to about `enough`."""
        found = 0
        for request in self._requests:
            if not request.done.done():
                found += request.queued_tokens
                if found >= enough:
                    break
        return found
