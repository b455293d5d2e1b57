"""From the engine's chunks to OpenAI's bodies: one JSON object, or server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import aclosing
from typing import Any, Literal

from ullage.errors import UllageError, outcome
from ullage.serve.llm.generations import Chunk, text_of

Kind = Literal["chat", "completion"]
_OWN = ("model", "system_fingerprint", "usage", "timings")


async def events(
    first: Chunk, rest: AsyncGenerator[Chunk, None], *, model: str, fingerprint: str, wants_usage: bool
) -> AsyncGenerator[str, None]:
    """One event a chunk, the usage last when asked for, then `[DONE]`. An error becomes the last event."""
    async with aclosing(rest):
        try:
            async for chunk in _chain(first, rest):
                for body in _bodies(chunk, wants_usage):
                    yield _event({**body, "model": model, "system_fingerprint": fingerprint})
        except UllageError as error:
            what = outcome(error)
            yield _event({"error": {"message": error.message, "type": what.kind, "code": what.http_status}})
            return
        yield "data: [DONE]\n\n"


async def whole(chunks: AsyncIterable[Chunk], kind: Kind, *, model: str, fingerprint: str) -> dict[str, Any]:
    """The answer as one object."""
    text: list[str] = []
    finish: str | None = None
    last: Chunk = {}
    async for chunk in chunks:
        text.append(text_of(chunk))
        for choice in chunk.get("choices", ()):
            finish = choice.get("finish_reason") or finish
        last = chunk
    body: dict[str, Any] = (
        {"message": {"role": "assistant", "content": "".join(text), "refusal": None}}
        if kind == "chat"
        else {"text": "".join(text)}
    )
    return {
        "id": last.get("id", ""),
        "object": "chat.completion" if kind == "chat" else "text_completion",
        "created": last.get("created", 0),
        "model": model,
        "system_fingerprint": fingerprint,
        "choices": [{"index": 0, **body, "logprobs": None, "finish_reason": finish}],
        "usage": last.get("usage"),
        "timings": last.get("timings"),
    }


def _bodies(chunk: Chunk, wants_usage: bool) -> Iterator[Chunk]:
    """The chunk without what is ours to say, and its usage as a chunk of its own."""
    plain = {key: value for key, value in chunk.items() if key not in _OWN}
    if plain.get("choices"):
        yield plain
    if wants_usage and "usage" in chunk:
        yield {**plain, "choices": [], "usage": chunk["usage"], "timings": chunk.get("timings")}


async def _chain(first: Chunk, rest: AsyncIterable[Chunk]) -> AsyncGenerator[Chunk, None]:
    yield first
    async for chunk in rest:
        yield chunk


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n"
