"""Questions to the RAG server: answers as they stream, passages, and what it is set to."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import httpx

from ullage.clients.once import Once
from ullage.errors import DependencyDown

Chunk = dict[str, Any]


class RagClient(Once):
    """The blueprint's API; errors are those of Once. `timeout_s` bounds the silence inside a stream."""

    def __init__(
        self, base_url: str, *, timeout_s: float = 120.0, api_key: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(base_url, role="rag", timeout_s=timeout_s, api_key=api_key, transport=transport)

    async def generate(self, body: Mapping[str, Any]) -> AsyncGenerator[Chunk, None]:
        """The chunks of `POST /v1/generate`, the closing one included. Whoever leaves early closes the generator: then
        the server stops generating."""
        async with self.stream("POST", "/v1/generate", body=dict(body)) as answer, aclosing(_events(answer)) as events:
            async for event in events:
                yield event
                if finished(event):
                    return
        raise DependencyDown(f"rag at {self.base_url} broke off in the middle of its answer")

    async def search(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """`{total_results, results, degraded}`."""
        found = await self.ask("POST", "/v1/search", body=dict(body))
        if not isinstance(found, dict) or not isinstance(found.get("results"), list):
            raise self.wrong("/v1/search", "no results")
        return found

    def said(self, answer: httpx.Response) -> str:
        """An error that comes as a stream is told in pieces."""
        events = [_parsed(line[5:].strip()) for line in answer.text.splitlines() if line.startswith("data:")]
        return "".join(text_of(event) for event in events) or super().said(answer)


def text_of(chunk: Chunk) -> str:
    """The text that a chunk adds."""
    choices = chunk.get("choices") or [{}]
    return str((choices[0].get("delta") or {}).get("content") or "")


def finished(chunk: Chunk) -> bool:
    choices = chunk.get("choices") or [{}]
    return choices[0].get("finish_reason") is not None


async def _events(answer: httpx.Response) -> AsyncGenerator[Chunk, None]:
    async for line in answer.aiter_lines():
        if line.startswith("data:") and (data := line.removeprefix("data:").strip()) != "[DONE]":
            yield _parsed(data)


def _parsed(data: str) -> Chunk:
    try:
        event = json.loads(data)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise DependencyDown(f"rag streams no events of the contract but {data[:60]!r}: check rag_url")
    return event
