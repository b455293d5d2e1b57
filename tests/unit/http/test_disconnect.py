"""Work for a client that went away ends."""

from __future__ import annotations

import asyncio

import pytest

from ullage.errors import Cancelled, OutOfMemory
from ullage.http.disconnect import until_disconnect


class Connection:
    """A request whose client can be made to go away."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def receive(self) -> dict[str, str]:
        await self.gone.wait()
        return {"type": "http.disconnect"}


async def test_work_of_a_client_that_went_away_is_cancelled():
    connection, cancelled = Connection(), []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    task = asyncio.create_task(until_disconnect(connection.receive, work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    connection.gone.set()
    with pytest.raises(Cancelled):
        await task
    assert cancelled == [True]


async def test_work_that_ends_first_is_answered_and_its_error_raised():
    async def work(fault: Exception | None) -> int:
        if fault:
            raise fault
        return 7

    assert await until_disconnect(Connection().receive, work(None)) == 7
    with pytest.raises(OutOfMemory, match="x"):
        await until_disconnect(Connection().receive, work(OutOfMemory("x")))
