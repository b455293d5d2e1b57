"""What is done while the ranking service is waited for."""

import asyncio

import pytest

from rag_stubs import found
from ullage.rag import reading as module
from ullage.rag.ahead import meanwhile, read_ahead
from ullage.rag.evidence import PASSAGES_READ
from ullage.rag.reading import LONGEST_KEPT


async def test_steps_are_taken_while_work_waits_and_no_longer():
    done = asyncio.Event()
    taken = []

    def steps():
        for step in range(100):
            taken.append(step)
            if step == 4:
                done.set()
            yield

    async def work():
        await done.wait()
        return "order"

    assert await meanwhile(work(), steps()) == "order"
    assert taken[:5] == [0, 1, 2, 3, 4]
    assert len(taken) < 10


async def test_the_request_goes_out_first_and_few_steps_are_waited_for():
    told = []

    async def work():
        told.append("asked")
        await asyncio.sleep(0.01)
        told.append("answered")

    await meanwhile(work(), (told.append("step") for _ in range(2)))
    assert told == ["asked", "step", "step", "answered"]


async def test_what_work_raises_is_raised_and_a_cancelled_wait_ends_the_work():
    async def fails():
        raise ValueError("no order")

    with pytest.raises(ValueError, match="no order"):
        await meanwhile(fails(), iter([None]))

    ended = []

    async def endless():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    for steps in (iter(()), (None for _ in iter(int, 1))):  # before it waits, and while it takes steps
        waiting = asyncio.create_task(meanwhile(endless(), steps))
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert ended == [True, True]


def test_the_first_passages_are_read_as_the_evidence_will_ask_for_them():
    module._kept.cache_clear()
    passages = [found(f"Pump {n} is serviced every {n} weeks.", rank=n) for n in range(12)]
    passages[1] = found("It rains. " * (LONGEST_KEPT // 10 + 1), rank=1)
    list(read_ahead("How many weeks lie between two services of pump 7?", passages))
    assert module._kept.cache_info().misses == PASSAGES_READ - 1
