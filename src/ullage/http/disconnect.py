"""Stop working for a client that went away."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Receive

from ullage.errors import Cancelled

T = TypeVar("T")


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; when the client goes away first, cancel it. Raises Cancelled, which nobody is left to see.

    `receive` is that of a request whose body has been read. The work stays in the caller's task: one of its own would
    cost every request two more turns of the event loop.
    """
    watch = _Watch(receive, asyncio.current_task())
    watching = asyncio.create_task(watch.run())
    try:
        return await work
    except asyncio.CancelledError:
        if watch.cancelled_it():
            raise Cancelled("the client went away") from None
        raise
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


class _Watch:
    """Cancels a task when the client goes away."""

    def __init__(self, receive: Receive, task: asyncio.Task[Any] | None) -> None:
        self._receive = receive
        self._task = task
        self._gone = False

    async def run(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if self._task is not None:
            self._gone = True
            self._task.cancel()

    def cancelled_it(self) -> bool:
        """Whether the task's cancellation was this one alone; it is taken back."""
        return self._gone and self._task is not None and self._task.uncancel() == 0
