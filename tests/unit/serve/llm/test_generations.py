"""Admission, order, stopping and ends, over an engine that counts words."""

import asyncio
import threading
from contextlib import aclosing

import pytest

from ullage.errors import DeadlineExceeded, EngineFailed, InvalidRequest, NotReady, Overloaded
from ullage.serve.llm.generations import Generations


class Words:
    """Says `words` words, each after `gate` opens for one more."""

    def __init__(self):
        self.gate = threading.Semaphore(0)
        self.said: list[str] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.closed = False

    def load(self):
        pass

    def close(self):
        self.closed = True

    def run(self, request, on_chunk, stop):
        if "error" in request:
            raise request["error"]
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            for index in range(request["words"]):
                while not self.gate.acquire(timeout=0.01):
                    if stop.is_set():
                        return
                self.said.append(f"{request['name']}{index}")
                on_chunk({"choices": [{"delta": {"content": self.said[-1]}}]})
            on_chunk({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": request["words"]}})
        finally:
            with self.lock:
                self.at_once -= 1


@pytest.fixture
async def world():
    words, ends = Words(), []
    generations = Generations(words, parallel=2, waiting=1, on_end=ends.append)
    await generations.start()
    yield words, generations, ends
    await generations.close()
    assert words.closed


async def read(world, name, words, timeout_s=30.0):
    engine, generations, _ = world
    chunks = generations.stream(engine.run, {"name": name, "words": words}, timeout_s=timeout_s)
    return [c["choices"][0]["delta"]["content"] async for c in chunks if c["choices"]]


async def until(done):
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.005)


async def test_two_run_one_waits_and_the_next_is_refused(world):
    engine, generations, ends = world
    asking = [asyncio.create_task(read(world, name, 2)) for name in "ab"]
    await until(lambda: generations.running == 2)
    asking.append(asyncio.create_task(read(world, "c", 2)))
    await until(lambda: generations.queued == 1)
    with pytest.raises(Overloaded, match="2 generations run and 1 wait") as refused:
        await read(world, "d", 2)
    assert refused.value.retry_after_s >= 1
    engine.gate.release(6)
    assert await asyncio.gather(*asking) == [["a0", "a1"], ["b0", "b1"], ["c0", "c1"]]
    assert engine.most_at_once == 2
    assert [end.outcome for end in ends] == ["done"] * 3
    assert {(end.prompt_tokens, end.completion_tokens) for end in ends} == {(3, 2)}


async def test_leaving_early_stops_the_engine_and_frees_the_slot(world):
    engine, generations, ends = world
    stream = generations.stream(engine.run, {"name": "a", "words": 1000}, timeout_s=30)
    engine.gate.release()
    async with aclosing(stream):
        assert (await anext(stream))["choices"][0]["delta"]["content"] == "a0"
    await until(lambda: generations.running == 0)
    assert engine.said == ["a0"]
    assert (ends[0].outcome, ends[0].completion_tokens) == ("stopped", 1)
    engine.gate.release(1)
    assert await read(world, "b", 1) == ["b0"]


async def test_a_cancelled_waiter_leaves_the_queue(world):
    _, generations, _ = world
    running = [asyncio.create_task(read(world, name, 1000)) for name in "ab"]
    await until(lambda: generations.running == 2)
    waiting = asyncio.create_task(read(world, "c", 1))
    await until(lambda: generations.queued == 1)
    waiting.cancel()
    await until(lambda: generations.queued == 0)
    for task in running:
        task.cancel()
    await until(lambda: generations.running == 0)
    assert not any(word.startswith("c") for word in world[0].said)


@pytest.mark.parametrize(("error", "told"), [(InvalidRequest("bad"), InvalidRequest), (OSError("x"), EngineFailed)])
async def test_an_engine_error_reaches_its_caller_only(world, error, told):
    engine, generations, ends = world
    with pytest.raises(told):
        async for _ in generations.stream(engine.run, {"error": error}, timeout_s=30):
            pass
    assert ends[0].outcome == type(error).__name__
    engine.gate.release()
    assert await read(world, "a", 1) == ["a0"]


async def test_the_deadline_counts_the_wait_too(world):
    _, generations, _ = world
    running = [asyncio.create_task(read(world, name, 1000)) for name in "ab"]
    await until(lambda: generations.running == 2)
    with pytest.raises(DeadlineExceeded, match=r"request_timeout_s=0\.05"):
        await read(world, "c", 1, timeout_s=0.05)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    with pytest.raises(DeadlineExceeded):
        await read(world, "d", 1, timeout_s=0.2)
    await until(lambda: generations.running == 0)


async def test_nothing_is_admitted_before_load_or_after_close():
    engine = Words()
    generations = Generations(engine, parallel=1, waiting=1)
    with pytest.raises(NotReady):
        await read((engine, generations, []), "a", 1)
    await generations.start()
    running = asyncio.create_task(read((engine, generations, []), "a", 1000))
    await until(lambda: generations.running == 1)
    await generations.close()
    with pytest.raises(NotReady):
        await read((engine, generations, []), "b", 1)
    assert await running == []
