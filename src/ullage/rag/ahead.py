"""Reading passages while the ranking service still orders them: what is then known need not be waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from ullage.rag.evidence import PASSAGES_READ
from ullage.rag.passage import Candidate
from ullage.rag.question import read_question
from ullage.rag.reading import LONGEST_KEPT, reading
from ullage.rag.values import values

T = TypeVar("T")

TURNS_TO_SEND = 3
"""Of the event loop until a request is on its way."""


async def meanwhile(work: Coroutine[Any, Any, T], steps: Iterator[None]) -> T:
    """What `work` gives. While it waits the steps are taken, each of them short, with a turn for all others after each;
    those that are left when it is done are not."""
    task = asyncio.create_task(work)
    try:
        for _ in range(TURNS_TO_SEND):
            await asyncio.sleep(0)
        for _ in steps:
            await asyncio.sleep(0)
            if task.done():
                break
        return await task
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def read_ahead(text: str, passages: Sequence[Candidate]) -> Iterator[None]:
    """The question and the first passages, as the evidence will ask for them: many of these are kept."""
    question = read_question(text)
    yield
    for passage in passages[:PASSAGES_READ]:
        if len(passage.text) <= LONGEST_KEPT:
            read = reading(passage.read())
            yield
            if question.wanted:
                for unit in read.units:
                    values(unit.plain)
                yield
