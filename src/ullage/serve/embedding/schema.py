"""Bodies of `POST /v1/embeddings`: OpenAI's, with the fields the embedding NIM adds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ullage.http.text import FilledText


class EmbeddingRequest(BaseModel):
    """`model` may end in `-query` or `-passage` instead of `input_type`. `user` is accepted and has no use."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(min_length=1, max_length=128)]
    input: FilledText | Annotated[list[FilledText], Field(min_length=1)]
    input_type: Literal["query", "passage"] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    embedding_type: Literal["float"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    truncate: Literal["NONE", "START", "END"] = "NONE"
    modality: Literal["text"] | None = None
    user: str | None = None


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage
