"""Requests in OpenAI's shape. A field is honoured, harmless at its stated values, or refused by name."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SCHEMA_CHARACTERS = 65_536
SCHEMA_DEPTH = 32
"""Schemas and grammars are compiled by recursive code: both are bounded before it sees them."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class Message(_Strict):
    """`content` is text, or parts of type text; this model sees no pictures."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[TextPart], Field(min_length=1)]
    name: str | None = None

    def plain(self) -> dict[str, str]:
        text = self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)
        return {"role": "system" if self.role == "developer" else self.role, "content": text}


class StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: Literal[False] = False


class JsonSchema(_Strict):
    name: str = "answer"
    description: str | None = None
    strict: bool | None = None
    schema_: dict[str, Any] = Field(alias="schema")


def _bounded(schema: JsonSchema | None) -> JsonSchema | None:
    if schema is None:
        return None
    size = len(json.dumps(schema.schema_))
    if size > SCHEMA_CHARACTERS:
        raise ValueError(f"the schema has {size} characters, {SCHEMA_CHARACTERS} are the most")
    if _depth(schema.schema_) > SCHEMA_DEPTH:
        raise ValueError(f"the schema is nested deeper than {SCHEMA_DEPTH}")
    return schema


def _depth(value: object) -> int:
    deepest, level = 0, [value]
    while level and deepest <= SCHEMA_DEPTH:
        deepest += 1
        below: list[object] = []
        for item in level:
            below.extend(item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
        level = [item for item in below if isinstance(item, dict | list)]
    return deepest


def _shallow(grammar: str | None) -> str | None:
    if grammar is not None and grammar.count("(") > SCHEMA_DEPTH * 32:
        raise ValueError(f"the grammar opens more than {SCHEMA_DEPTH * 32} brackets")
    return grammar


class ResponseFormat(_Strict):
    """Free text, any JSON object, or JSON after a schema: enforced token by token."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Annotated[JsonSchema | None, AfterValidator(_bounded)] = None

    @model_validator(mode="after")
    def _schema_with_its_type(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to type json_schema, and only there")
        return self


Stop = Annotated[str, Field(min_length=1)] | Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=8)]


class GenerationRequest(_Strict):
    """What chat and completions share. After `ignore_eos` come fields that are accepted only where they ask nothing."""

    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    top_k: int | None = Field(None, ge=0, le=100_000, description="extension: sample among the best k; 0 is all")
    min_p: float | None = Field(None, ge=0, le=1, description="extension")
    repeat_penalty: float | None = Field(None, gt=0, le=10, description="extension")
    grammar: Annotated[str | None, AfterValidator(_shallow)] = Field(
        None, min_length=1, max_length=SCHEMA_CHARACTERS, description="extension: GBNF that the text must match"
    )
    ignore_eos: bool | None = Field(None, description="extension: go on to max_tokens, for benchmarks")

    n: Literal[1] | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: Literal["auto", "default"] | None = None

    @model_validator(mode="after")
    def _options_only_with_stream(self) -> GenerationRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream=true")
        return self

    def sampling(self) -> dict[str, Any]:
        """The fields the engine takes as they are, without the unset ones; temperature is 1 as in OpenAI's API."""
        names = ("max_tokens", "top_p", "presence_penalty", "frequency_penalty", "top_k", "min_p", "repeat_penalty",
                 "grammar", "ignore_eos")
        taken = {name: value for name in names if (value := getattr(self, name)) is not None}
        taken["temperature"] = 1.0 if self.temperature is None else self.temperature
        if self.seed is not None:
            taken["seed"] = self.seed % 2**32
        if self.stop:
            taken["stop"] = [self.stop] if isinstance(self.stop, str) else self.stop
        return taken

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(GenerationRequest):
    """`POST /v1/chat/completions`."""

    messages: list[Message] = Field(min_length=1, max_length=1024)
    max_completion_tokens: int | None = Field(None, ge=1)
    response_format: ResponseFormat | None = None

    logprobs: Literal[False] | None = None
    store: Literal[False] | None = None
    modalities: list[Literal["text"]] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None

    @model_validator(mode="after")
    def _one_limit_one_constraint(self) -> ChatRequest:
        if self.max_tokens is not None and self.max_completion_tokens not in (None, self.max_tokens):
            raise ValueError("max_tokens and max_completion_tokens differ: send one")
        if self.grammar is not None and self.response_format is not None:
            raise ValueError("grammar and response_format exclude each other: send one")
        return self

    def engine_request(self) -> dict[str, Any]:
        taken = {**self.sampling(), "messages": [message.plain() for message in self.messages]}
        if self.max_completion_tokens is not None:
            taken["max_tokens"] = self.max_completion_tokens
        if self.response_format is not None:
            taken["response_format"] = self.response_format.model_dump(by_alias=True, exclude_none=True)
        return taken


class CompletionRequest(GenerationRequest):
    """`POST /v1/completions`: a raw prompt, no template."""

    prompt: Annotated[str, Field(min_length=1)] | Annotated[
        list[Annotated[str, Field(min_length=1)]], Field(min_length=1, max_length=1)
    ]

    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    suffix: None = None

    def engine_request(self) -> dict[str, Any]:
        prompt = self.prompt if isinstance(self.prompt, str) else self.prompt[0]
        return {**self.sampling(), "prompt": prompt}
