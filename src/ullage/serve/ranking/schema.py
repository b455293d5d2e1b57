"""Bodies of `POST /v1/ranking`, as the NeMo Retriever reranking NIM has them (1.10)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ullage.http.text import AnyText, FilledText

MAX_PASSAGES = 512
MAX_CHARACTERS = 14_598_366


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Query(_Body):
    text: Annotated[FilledText, Field(max_length=MAX_CHARACTERS)]


class Passage(_Body):
    text: Annotated[AnyText, Field(max_length=MAX_CHARACTERS)]


class RankingRequest(_Body):
    model: Annotated[str, Field(min_length=1, max_length=128)]
    query: Query
    passages: Annotated[list[Passage], Field(min_length=1, max_length=MAX_PASSAGES)]
    truncate: Literal["NONE", "END"] | None = "NONE"


class HostedRequest(RankingRequest):
    """What the hosted service takes: its path names the model, and some clients send `top_k`."""

    model: Annotated[str, Field(min_length=1, max_length=128)] | None = None  # type: ignore[assignment]
    top_k: Annotated[int, Field(ge=1)] | None = None


class Ranking(BaseModel):
    """`index` is the passage's place in the request; `logit` is the raw score, larger is better."""

    index: int
    logit: float


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class RankingResponse(BaseModel):
    """`rankings` holds every passage, sorted by logit, best first."""

    rankings: list[Ranking]
    usage: Usage
