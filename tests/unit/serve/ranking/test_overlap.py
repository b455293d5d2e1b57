"""A call that finds a fast engine idle: computed while its last passages are still tokenized, with the same answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from dummies import MODEL
from ullage.engines.base import Batch
from ullage.engines.dummy import DummyEngine
from ullage.errors import EngineFailed, TooLong
from ullage.models.card import find_card
from ullage.models.files import locate
from ullage.models.tokenize import Tokenizer, Tokens
from ullage.schedule import Scheduler
from ullage.serve.ranking.ranker import PART_TOKENS, Ranker

CARD = find_card(MODEL, "ranking").model_copy(update={"kind": "cross-encoder"})
QUERY = "which pump is serviced"
PASSAGES = [f"pump {n} is serviced every {n % 50} weeks {'and more ' * (n % 90)}" for n in range(200)]


class Slow(Tokenizer):
    """Tokenizes a second call only after the engine has begun with the first."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.done = self.calls = 0
        self.begun = threading.Event()
        self.waits = True

    def encode_pairs(self, query: str, passages: Sequence[str], *, offsets: bool = False) -> list[Tokens]:
        self.calls += 1
        if self.waits and self.calls > 1:
            assert self.begun.wait(30), "the engine has not begun"
        found = super().encode_pairs(query, passages, offsets=offsets)
        self.done += len(passages) - 1  # the first is empty: the query alone
        return found


Made = tuple[Ranker, list[int], Slow]


@pytest.fixture
def make(model_cache: Path) -> Callable[..., object]:
    path = locate(CARD, model_cache)["tokenizer"]

    @asynccontextmanager
    async def made(*, overlaps: bool = True, limit: int = 256, broken: bool = False) -> AsyncIterator[Made]:
        """The ranker, how many passages were tokenized when each batch began, and the tokenizer."""
        tokenizer = Slow(path)
        tokenizer.waits = overlaps
        tokenized: list[int] = []

        def begins(_: Batch) -> None:
            tokenized.append(tokenizer.done)
            if broken:
                raise EngineFailed("the engine is broken")
            tokenizer.begun.set()

        scheduler = Scheduler(DummyEngine(fail=begins), max_batch_tokens=8192, max_row_tokens=limit)
        await scheduler.start()
        try:
            yield Ranker(CARD, tokenizer, scheduler, limit=limit, overlaps=overlaps), tokenized, tokenizer
            async with asyncio.timeout(30):
                while not scheduler.idle:  # a batch under way ends first
                    await asyncio.sleep(0.001)
        finally:
            await scheduler.close()

    return made


async def test_the_engine_begins_before_all_is_tokenized_and_the_answer_is_the_same(make) -> None:
    async with make() as (ranker, tokenized, tokenizer):
        found = await ranker.score(QUERY, PASSAGES, "END")
        assert tokenizer.calls > 2
        assert 0 < tokenized[0] < len(PASSAGES)
    async with make(overlaps=False) as (ranker, _, tokenizer):
        whole = await ranker.score(QUERY, PASSAGES, "END")
        assert tokenizer.calls == 1
    assert (found.logits == whole.logits).all()
    assert (found.tokens, found.cut, found.windows) == (whole.tokens, whole.cut, whole.windows)
    assert found.prompt_tokens == whole.prompt_tokens > PART_TOKENS
    assert found.tokenize_s > 0
    assert found.compute_s > 0
    assert found.queue_s >= 0


async def test_a_small_call_and_one_that_finds_others_are_tokenized_at_once(make) -> None:
    async with make() as (ranker, _, tokenizer):
        tokenizer.waits = False
        await ranker.score(QUERY, PASSAGES[:5], "END")
        assert tokenizer.calls == 1
        first = asyncio.create_task(ranker.score(QUERY, PASSAGES, "END"))
        while ranker._scheduler.idle:
            await asyncio.sleep(0)
        second = asyncio.create_task(ranker.score("another question", PASSAGES[::-1], "END"))
        one, other = await asyncio.gather(first, second)
        parts = tokenizer.calls - 2
        assert parts > 1
        assert len(one.logits) == len(other.logits) == len(PASSAGES)


async def test_a_passage_that_is_too_long_refuses_all_and_leaves_nothing(make) -> None:
    async with make(limit=128) as (ranker, _, tokenizer):
        tokenizer.waits = False
        with pytest.raises(TooLong, match="exceeds maximum allowed token size 128"):
            await ranker.score(QUERY, [*PASSAGES[:60], "word " * 300, *PASSAGES[:60]], "NONE")


async def test_an_engine_that_fails_fails_the_call(make) -> None:
    async with make(broken=True) as (ranker, _, tokenizer):
        tokenizer.waits = False
        with pytest.raises(EngineFailed, match="the engine is broken"):
            await ranker.score(QUERY, PASSAGES, "END")


async def test_a_caller_that_leaves_leaves_nothing(make) -> None:
    async with make() as (ranker, tokenized, tokenizer):
        leaving = asyncio.create_task(ranker.score(QUERY, PASSAGES, "END"))
        while not tokenized:
            await asyncio.sleep(0.001)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        tokenizer.begun.set()


async def test_windows_are_the_same_in_parts(make) -> None:
    long = [" ".join(f"w{n % 7} pump" for n in range(count)) for count in (40, 900, 300, 10) * 6]
    async with make(limit=128) as (ranker, _, tokenizer):
        tokenizer.waits = False
        found = await ranker.score(QUERY, long, "WINDOW", most_windows=3)
    async with make(limit=128, overlaps=False) as (ranker, _, _tokenizer):
        whole = await ranker.score(QUERY, long, "WINDOW", most_windows=3)
    assert np.array_equal(found.logits, whole.logits)
    assert max(found.windows) == 3
    assert found.windows == whole.windows
