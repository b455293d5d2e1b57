"""The rows that wait, and whose turn it is.

Requests share compute by tokens: the next row is one of the request that was served least, where a token of a large
request counts for several. A request that arrives begins where the one served last began, so it neither waits for
those already here nor pushes them aside (start-time fair queueing).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from ullage.errors import DeadlineExceeded
from ullage.schedule.request import Item, Request, length


class FairQueue:
    """`queued_tokens` are the tokens of rows not yet taken, once for each request that waits for one."""

    def __init__(self) -> None:
        self.queued_tokens = 0
        self.expired = 0
        self._requests: dict[Request, None] = {}
        self._items: dict[bytes, Item] = {}
        self._served = 0

    def __len__(self) -> int:
        return len(self._requests)

    def find(self, key: bytes | None) -> Item | None:
        """The item that computes this row already."""
        return None if key is None else self._items.get(key)

    def add(self, request: Request, items: Iterable[Item]) -> None:
        """Admit a request with the items it waits for; those it shares may be under way."""
        request.items = list(items)
        request.served = self._served
        self._requests[request] = None
        for item in request.items:
            if item.key is not None:
                self._items[item.key] = item
        self._wait(request, [item for item in request.items if not item.taken])

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
        heap = [(request.served, request.order, request) for request in self._live(now)]
        heapq.heapify(heap)
        taken: list[Item] = []
        room, like, price = most_tokens, None, 0
        while heap and (most_rows is None or len(taken) < most_rows):
            served, order, request = heapq.heappop(heap)
            item = request.next(like, room) if price in (0, request.price) else None
            if item is None:
                continue
            if like is None:
                like, price = item.tokens, request.price
                room = max(like, min(most_tokens, turn_tokens))
            room -= item.tokens
            self._served = max(self._served, served)
            request.served += item.tokens * request.price
            self._mark_taken(item)
            taken.append(item)
            if request.waiting:
                heapq.heappush(heap, (request.served, order, request))
        return taken

    def _live(self, now: float) -> list[Request]:
        live = []
        for request in list(self._requests):
            if not request.waiting or request.done.done():
                continue
            if request.expires is not None and request.expires <= now:
                self.expired += 1
                request.fail(DeadlineExceeded("the deadline passed before the request had its turn: send less"))
            else:
                live.append(request)
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
                request.served = min(request.served, self._served)
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
