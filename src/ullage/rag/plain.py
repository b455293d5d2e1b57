"""OpenAI's chat, for clients that know nothing of the blueprint: which bodies are theirs, and what they are answered.

`chat_shape: auto` takes a body for OpenAI's when it has `stream`, a field the blueprint does not know, or when it has a
model and no field but OpenAI's. The blueprint's own fields may stand in either.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import Response
from fastapi.responses import JSONResponse
from pydantic import Field, field_validator

from ullage.errors import UllageError, outcome
from ullage.http.dialects import Said, openai_body
from ullage.rag.events import Answer, Timings
from ullage.rag.passage import Passage
from ullage.rag.refusals import UNEXPECTED, headers_of, status_of
from ullage.rag.schema import Message, Prompt
from ullage.rag.stream import Whole
from ullage.rag.wire import citations, event_of, told, usage

ONLY_OPENAI = frozenset({"stream", "stream_options"})
OPENAI = ONLY_OPENAI | frozenset(
    """
    model messages temperature top_p max_tokens max_completion_tokens stop n seed user metadata store logprobs
    top_logprobs logit_bias presence_penalty frequency_penalty response_format tools tool_choice parallel_tool_calls
    service_tier safety_identifier prompt_cache_key reasoning_effort verbosity modalities
    """.split()
)


def wants_plain(body: object, shape: Literal["auto", "blueprint", "openai"]) -> bool:
    if shape != "auto":
        return shape == "openai"
    if not isinstance(body, Mapping):
        return False
    return bool(ONLY_OPENAI & body.keys()) or ("model" in body and body.keys() <= OPENAI)


class PlainMessage(Message):
    role: Literal["user", "assistant", "system", "developer"] = "user"  # type: ignore[assignment]

    @field_validator("role", mode="after")
    @classmethod
    def _developer_is_system(cls, role: str) -> str:
        return "system" if role == "developer" else role


class PlainChat(Prompt):
    """`POST /v1/chat/completions` as OpenAI has it; `temperature` above 1 is taken as 1."""

    messages: list[PlainMessage] = Field(min_length=1, max_length=50_000)  # type: ignore[assignment]
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    max_completion_tokens: int | None = Field(None, ge=0, le=128_000)
    stop: str | list[str] | None = None  # type: ignore[assignment]
    n: Literal[1] | None = None
    tools: list[Any] | None = Field(None, max_length=0)
    functions: list[Any] | None = Field(None, max_length=0)
    logprobs: Literal[False] | None = None
    response_format: dict[str, Any] | None = None

    @field_validator("response_format")
    @classmethod
    def _text_alone(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and value.get("type") != "text":
            raise ValueError("answers are cited prose: leave it out, or send {\"type\": \"text\"}")
        return value

    def prompt(self) -> Prompt:
        """The same request as the blueprint would put it."""
        said = self.model_dump(exclude_none=True, exclude_unset=True)
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        said |= {"stop": stop, "max_tokens": self.max_completion_tokens or self.max_tokens}
        if self.temperature is not None:
            said["temperature"] = min(1.0, self.temperature)
        if self.top_p is not None:
            said["top_p"] = max(0.1, self.top_p)
        return Prompt.model_validate({name: value for name, value in said.items() if value is not None})


@dataclass(slots=True)
class PlainChunks:
    """The chunks of one answer; `extras` stand beside OpenAI's fields: citations on the first, metrics on the last."""

    model: str
    with_usage: bool = False
    id: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def first(self, passages: Sequence[Passage], text: str) -> str:
        return self._event([_choice({"role": "assistant", "content": text})], citations=citations(passages))

    def chunk(self, text: str) -> str:
        return self._event([_choice({"content": text})])

    def last(self, answer: Answer, timings: Timings, passages: Sequence[Passage] = ()) -> list[str]:
        events = [self._event([_choice({}, "stop")], **told(answer, timings, passages))]
        if self.with_usage:
            events.append(self._event([], usage=usage(answer)))
        return [*events, "data: [DONE]\n\n"]

    def error(self, message: str) -> list[str]:
        """As OpenAI's clients expect one in the middle of a stream."""
        return [event_of({"error": {"message": message, "type": "server_error", "param": None, "code": 503}}),
                "data: [DONE]\n\n"]

    def body(self, whole: Whole) -> dict[str, Any]:
        """Not streamed: one object."""
        choice = {"index": 0, "message": {"role": "assistant", "content": whole.text}, "logprobs": None,
                  "finish_reason": "stop"}
        return {"id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
                "choices": [choice], "usage": usage(whole.answer), "citations": citations(whole.passages),
                **told(whole.answer, whole.timings, whole.passages)}

    def _event(self, choices: list[dict[str, Any]], **extras: Any) -> str:
        nothing_yet = {"usage": None} if self.with_usage and choices else {}
        return event_of({"id": self.id, "object": "chat.completion.chunk", "created": self.created,
                         "model": self.model, "choices": choices, **nothing_yet, **extras})


def _choice(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}


def plain_error(error: Exception) -> Response:
    """OpenAI's error object."""
    if not isinstance(error, UllageError):
        return _refused(UNEXPECTED, "internal_error", 500)
    return _refused(error.message, outcome(error).kind, status_of(error), headers_of(error))


def plain_fault(message: str) -> Response:
    return _refused(message, "invalid_request_error", 400)


def _refused(message: str, kind: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse(openai_body(Said(message, kind, status)), status, headers=headers)
