"""An answer as a stream of events, in the blueprint's or OpenAI's chunks, or as one body."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Protocol

import structlog

from ullage.errors import UllageError
from ullage.rag.events import Answer, Away, Event, Ordered, Retrieved, Timings, Token
from ullage.rag.metrics import RagMetrics
from ullage.rag.passage import Passage
from ullage.rag.refusals import UNEXPECTED

log = structlog.get_logger("ullage.rag")

DEGRADED = "X-Ullage-Degraded"


def degraded_headers(services: Sequence[str]) -> dict[str, str]:
    """Who the answer had to do without."""
    return {DEGRADED: ",".join(services)} if services else {}


class Shape(Protocol):
    """How the chunks of one answer look."""

    def first(self, passages: Sequence[Passage], text: str) -> str: ...

    def chunk(self, text: str) -> str: ...

    def last(self, answer: Answer, timings: Timings, passages: Sequence[Passage]) -> list[str]: ...

    def error(self, message: str) -> list[str]: ...


@dataclass(slots=True)
class Begun:
    """An answer whose first text is there. `passages` are those to be shown."""

    first: Event | None
    rest: AsyncGenerator[Event, None]
    passages: tuple[Passage, ...]
    degraded: tuple[str, ...]

    @property
    def headers(self) -> dict[str, str]:
        return {"X-Content-Type-Options": "nosniff", **degraded_headers(self.degraded)}


async def begun(events: AsyncGenerator[Event, None], *, cite: bool) -> Begun:
    """Waits for the first text, so that an error before it still has its own status."""
    passages: tuple[Passage, ...] = ()
    degraded: list[str] = []
    first: Event | None = None
    try:
        async for event in events:
            if isinstance(event, Ordered):
                passages, degraded = event.passages, list(event.degraded)
            elif isinstance(event, Away):
                degraded.append(event.service)
            elif not isinstance(event, Retrieved):
                first = event
                break
    except BaseException:
        await events.aclose()
        raise
    return Begun(first, events, passages if cite else (), tuple(degraded))


async def chunks(answer: Begun, shape: Shape, metrics: RagMetrics) -> AsyncGenerator[str, None]:
    """Every chunk; an error in the middle is told in the stream, which then ends."""
    told, timings, cited = Answer(), Timings({}, 0.0), False
    async with aclosing(_chain(answer.first, answer.rest)) as events:
        try:
            async for event in events:
                match event:
                    case Token():
                        yield shape.chunk(event.text) if cited else shape.first(answer.passages, event.text)
                        cited = True
                    case Answer():
                        told = event
                    case Timings():
                        timings = event
        except Exception as error:
            message = error.message if isinstance(error, UllageError) else UNEXPECTED
            log.warning("an answer broke off", reason=message, exc_info=not isinstance(error, UllageError))
            metrics.broken()
            for chunk in shape.error(message):
                yield chunk
            return
    metrics.observe(told, timings, answer.passages)
    for chunk in shape.last(told, timings, answer.passages):
        yield chunk


@dataclass(frozen=True, slots=True)
class Whole:
    """An answer at once."""

    text: str
    answer: Answer
    timings: Timings
    passages: tuple[Passage, ...]


async def whole(answer: Begun, metrics: RagMetrics) -> Whole:
    """Raises what the pipeline raises."""
    text, told, timings = "", Answer(), Timings({}, 0.0)
    async with aclosing(_chain(answer.first, answer.rest)) as events:
        async for event in events:
            match event:
                case Token():
                    text += event.text
                case Answer():
                    told = event
                case Timings():
                    timings = event
    metrics.observe(told, timings, answer.passages)
    return Whole(text, told, timings, answer.passages)


async def _chain(first: Event | None, rest: AsyncIterator[Event]) -> AsyncGenerator[Event, None]:
    async with aclosing(rest):  # type: ignore[type-var]
        if first is not None:
            yield first
        async for event in rest:
            yield event
