"""Talk to a language model behind any OpenAI-compatible URL."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson

from ullage.clients.base import ModelClient, carried_headers
from ullage.clients.line import LineBroken, Reply, encoded, lines
from ullage.errors import (
    DeadlineExceeded,
    DependencyDown,
    InvalidRequest,
    Overloaded,
    TooLong,
    UllageError,
    UnknownModel,
)

CONNECT_S = 5.0
_VERSIONED = re.compile(r"/v\d+[a-z0-9]*$")
_CONTEXT = re.compile(r"context[ _](holds|length|size|window)")
"""How ullage, OpenAI, vLLM and llama.cpp say that a prompt is too long."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them; `cached_tokens` of the prompt were not computed again."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(slots=True)
class Told:
    """What is known once a stream has ended; seconds are counted from the call. `usage` is None if not told."""

    usage: Usage | None = None
    finish_reason: str | None = None
    model: str = ""
    first_token_s: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    told: Told


@dataclass(slots=True)
class ChatStream:
    """Pieces of text: `async for piece in stream`. Afterwards `told` is complete.

    Whoever leaves early calls `aclose`, or uses it as `async with`, so that the server stops generating.
    """

    pieces: AsyncGenerator[str, None]
    told: Told = field(default_factory=Told)

    def __aiter__(self) -> AsyncGenerator[str, None]:
        return self.pieces

    async def aclose(self) -> None:
        await self.pieces.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.aclose()


def api_base(url: str) -> str:
    """`http://host:8999`, with or without `/v1` or the whole chat path, as the base that ends in a version."""
    base = url.rstrip("/").removesuffix("/chat/completions")
    return base if _VERSIONED.search(base) else f"{base}/v1"


class LlmClient(ModelClient):
    """One model at one URL; without a name, the first one listed. `timeout_s` bounds a whole answer, `silence_s` the
    wait for its next piece. A message's content is text, or OpenAI's parts with pictures.

    Nothing is tried twice: a generation costs too much, and a busy server says when to come back.
    """

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        timeout_s: float = 120.0,
        *,
        silence_s: float | None = None,
        api_key: str | None = None,
    ) -> None:
        self.base = api_base(base_url)
        super().__init__(self.base, role="llm", model=model, timeout_s=timeout_s, connect_s=min(CONNECT_S, timeout_s),
                         api_key=api_key)
        self._silence_s = timeout_s if silence_s is None else min(silence_s, timeout_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.close()

    def stream_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        stop: Sequence[str] | None = None,
        seed: int | None = None,
        response_format: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> ChatStream:
        """Begin a chat; nothing is sent before the first piece is asked for. `extra` goes into the body as it is.

        Iterating raises DependencyDown, Overloaded, DeadlineExceeded, UnknownModel, TooLong or InvalidRequest.
        """
        given = {
            "max_tokens": max_tokens, "temperature": temperature, "top_p": top_p, "seed": seed,
            "stop": list(stop) if stop else None, "response_format": response_format,
        }
        body = {
            "messages": [dict(message) for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: value for name, value in given.items() if value is not None},
            **(extra or {}),
        }
        told = Told()
        return ChatStream(self._pieces(body, told), told)

    async def complete(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Answer:
        """The whole answer at once; `options` and errors are those of `stream_chat`."""
        async with self.stream_chat(messages, **options) as stream:
            text = "".join([piece async for piece in stream])
        return Answer(text, stream.told)

    async def ready(self) -> bool:
        """The server's own readiness; where it has no such route, whether it lists its models."""
        status = await self._status(f"{self.base}/health/ready")
        return (await self._status(f"{self.base}/models") if status in (404, 405) else status) == 200

    async def _pieces(self, body: dict[str, Any], told: Told) -> AsyncGenerator[str, None]:
        begun = time.perf_counter()
        async with aclosing(self._events(body)) as events:
            async for event in events:
                text = _read(event, told)
                if text:
                    told.first_token_s = told.first_token_s or time.perf_counter() - begun
                    yield text
        told.seconds = time.perf_counter() - begun

    async def _events(self, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The stream's JSON objects until `[DONE]`."""
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        content = encoded({"model": await self.model(), **body})
        async with AsyncExitStack() as until_told:
            try:
                async with asyncio.timeout_at(self._until(deadline)):
                    answer = await until_told.enter_async_context(
                        self._line.open("POST", f"{self.base}/chat/completions", content, carried_headers()))
                    if answer.status != 200:
                        await answer.read()
            except (LineBroken, TimeoutError) as error:
                raise self._unreachable(error) from None
            if answer.status != 200:
                raise self._refused(answer)
            told = await until_told.enter_async_context(aclosing(lines(answer.pieces)))
            while (event := await self._next(told, deadline)) is not None:
                yield event

    async def _next(self, told: AsyncIterator[bytes], deadline: float) -> dict[str, Any] | None:
        """The next event, or None at the end. A stream that breaks off before `[DONE]` is an error."""
        try:
            async with asyncio.timeout_at(self._until(deadline)):
                async for line in told:
                    if line.startswith(b"data:"):
                        return _parsed(line[5:].strip(), self.base)
        except (LineBroken, TimeoutError) as error:
            raise self._unreachable(error) from None
        raise DependencyDown(f"the LLM at {self.base} broke off in the middle of its answer")

    def _until(self, deadline: float) -> float:
        return min(deadline, asyncio.get_running_loop().time() + self._silence_s)

    def _unreachable(self, error: Exception) -> UllageError:
        if isinstance(error, LineBroken) and error.unanswered:
            return DependencyDown(f"no LLM answers at {self.base}: {error}")
        if isinstance(error, TimeoutError):
            return DeadlineExceeded(f"the LLM at {self.base} gave no full answer within {self._timeout_s:g} s, "
                                    f"or no piece of it within {self._silence_s:g} s")
        return DependencyDown(f"the LLM at {self.base} hung up: {error}")

    def _refused(self, response: Reply) -> UllageError:
        status, said = response.status, _message(response)
        if status in (429, 503):
            wait = response.headers.get("retry-after", "")
            return Overloaded(
                f"the LLM at {self.base} is busy: {said}", retry_after_s=int(wait) if wait.isdigit() else 1
            )
        if status == 404:
            return UnknownModel(f"the LLM at {self.base} does not serve {self._model!r}: {said}")
        if status in (400, 413, 422):
            refusal = TooLong if _CONTEXT.search(response.text) else InvalidRequest
            return refusal(f"the LLM at {self.base} refuses the request: {said}")
        if status in (408, 504):
            return DeadlineExceeded(f"the LLM at {self.base} took too long: {said}")
        return DependencyDown(f"the LLM at {self.base} answered {status}: {said}")


def _parsed(data: bytes, base: str) -> dict[str, Any] | None:
    if data == b"[DONE]":
        return None
    try:
        event = orjson.loads(data)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        raise DependencyDown(f"the LLM at {base} streams no OpenAI events but "
                             f"{data[:60].decode('utf-8', 'replace')!r}")
    if error := event.get("error"):
        said = error.get("message", error) if isinstance(error, dict) else error
        raise DependencyDown(f"the LLM at {base} failed in the middle of its answer: {said}")
    return event


def _read(event: dict[str, Any], told: Told) -> str:
    """Note what an event tells and return its text."""
    told.model = event.get("model") or told.model
    if usage := event.get("usage"):
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        told.usage = Usage(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0), cached)
    text = ""
    for choice in event.get("choices") or ():
        told.finish_reason = choice.get("finish_reason") or told.finish_reason
        text += (choice.get("delta") or {}).get("content") or ""
    return text


def _message(response: Reply) -> str:
    """The error's words in NIM's, OpenAI's or FastAPI's shape, else the head of the body."""
    try:
        body = response.json()
    except ValueError:
        return response.text[:200] or response.reason
    if isinstance(body, dict):
        inner = body.get("error")
        told = body.get("message") or (inner.get("message") if isinstance(inner, dict) else inner) or body.get("detail")
        if told:
            return str(told)[:500]
    return response.text[:200]
