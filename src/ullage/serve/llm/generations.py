"""Admit generations, run each in a thread, and stop what nobody waits for any more."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ullage.errors import DeadlineExceeded, EngineFailed, NotReady, Overloaded, UllageError

T = TypeVar("T")
Chunk = dict[str, Any]
Run = Callable[[dict[str, Any], Callable[[Chunk], None], threading.Event], None]
"""`LlamaCppEngine.chat` or `.complete`: blocks, calls back with chunks, looks at the event between tokens."""


class Generator(Protocol):
    """What this file asks of an engine."""

    def load(self) -> None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class Ended:
    """One generation that is over. `outcome` is `done`, `stopped` or the error's class; times in seconds."""

    outcome: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float
    first_token_s: float | None


@dataclass(slots=True, eq=False)
class _Work:
    """One generation under way. `items` carries chunks, then an error or None; only the event loop touches it."""

    items: asyncio.Queue[Chunk | UllageError | None] = field(default_factory=asyncio.Queue)
    stop: threading.Event = field(default_factory=threading.Event)
    begun: float = field(default_factory=time.perf_counter)
    first_token_s: float | None = None
    tokens: int = 0
    usage: dict[str, Any] = field(default_factory=dict)

    def note(self, chunk: Chunk) -> None:
        """Count what came; the exact figures arrive with the last chunk, if it is ever reached."""
        if "usage" in chunk:
            self.usage = chunk["usage"]
        if text_of(chunk):
            self.tokens += 1
            self.first_token_s = self.first_token_s or time.perf_counter() - self.begun

    def ended(self, error: BaseException | None) -> Ended:
        outcome = type(error).__name__ if error else "done" if self.usage else "stopped"
        return Ended(
            outcome=outcome,
            prompt_tokens=self.usage.get("prompt_tokens", 0),
            cached_tokens=self.usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
            completion_tokens=self.usage.get("completion_tokens", self.tokens),
            seconds=time.perf_counter() - self.begun,
            first_token_s=self.first_token_s,
        )


def text_of(chunk: Chunk) -> str:
    """The text a streamed chunk carries, of either door; empty for role, finish and usage chunks."""
    for choice in chunk.get("choices", ()):
        text = choice.get("text") or choice.get("delta", {}).get("content")
        if text:
            return str(text)
    return ""


async def _before(deadline: float, timeout_s: float, work: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        raise DeadlineExceeded(
            f"not finished within request_timeout_s={timeout_s:g}: ask for fewer tokens, or raise it"
        ) from None


class Generations:
    """At most `parallel` run and `waiting` wait, first come first served; the next one is refused."""

    def __init__(
        self, engine: Generator, *, parallel: int, waiting: int, on_end: Callable[[Ended], None] = lambda _: None
    ) -> None:
        self._engine = engine
        self._parallel = parallel
        self._waiting = waiting
        self._on_end = on_end
        self._free = asyncio.Semaphore(parallel)
        self._threads = ThreadPoolExecutor(parallel, thread_name_prefix="llm")
        self._running: set[_Work] = set()
        self._mean_s = 1.0
        self._open = False
        self.queued = 0

    @property
    def running(self) -> int:
        return len(self._running)

    async def start(self) -> None:
        """Load the engine in a thread. Raises what `load` raises."""
        await asyncio.get_running_loop().run_in_executor(self._threads, self._engine.load)
        self._open = True

    async def close(self) -> None:
        """Refuse new work, stop what runs, give the memory back."""
        self._open = False
        for work in self._running:
            work.stop.set()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        await asyncio.get_running_loop().run_in_executor(None, self._engine.close)

    async def stream(self, run: Run, request: dict[str, Any], *, timeout_s: float) -> AsyncGenerator[Chunk, None]:
        """Chunks as they come. Leaving early stops the generation at its next token.

        Raises Overloaded or NotReady before the first chunk, DeadlineExceeded, and what the engine raises.
        """
        deadline = asyncio.get_running_loop().time() + timeout_s
        await _before(deadline, timeout_s, self._admit())
        work = self._begin(run, request)
        try:
            while (item := await _before(deadline, timeout_s, work.items.get())) is not None:
                if isinstance(item, UllageError):
                    raise item
                yield item
        finally:
            work.stop.set()

    async def _admit(self) -> None:
        if not self._open:
            raise NotReady("the language model is not loaded, or is stopping", retry_after_s=2)
        if self._free.locked() and self.queued >= self._waiting:
            wait_s = max(1, min(600, round(self._mean_s * (self.queued + 1) / self._parallel)))
            raise Overloaded(
                f"{self.running} generations run and {self.queued} wait, no more are queued: retry in {wait_s} s",
                retry_after_s=wait_s,
            )
        self.queued += 1
        try:
            await self._free.acquire()
        finally:
            self.queued -= 1
        if not self._open:
            self._free.release()
            raise NotReady("the service is stopping", retry_after_s=2)

    def _begin(self, run: Run, request: dict[str, Any]) -> _Work:
        loop = asyncio.get_running_loop()
        work = _Work()
        self._running.add(work)

        def take(chunk: Chunk) -> None:
            work.note(chunk)
            loop.call_soon_threadsafe(work.items.put_nowait, chunk)

        future = loop.run_in_executor(self._threads, run, request, take, work.stop)
        # The slot is freed by the engine's end and not by the caller's: a stopped prompt still holds it for a moment.
        future.add_done_callback(lambda done: self._end(work, done.exception()))
        return work

    def _end(self, work: _Work, error: BaseException | None) -> None:
        self._running.discard(work)
        self._free.release()
        ended = work.ended(error)
        self._mean_s = 0.8 * self._mean_s + 0.2 * ended.seconds
        self._on_end(ended)
        told = error if error is None or isinstance(error, UllageError) else EngineFailed(f"{type(error).__name__}")
        work.items.put_nowait(told)
