"""Bodies of the rerank dialects: Cohere's (v1 and v2) with Jina's, and that of text-embeddings-inference (TEI)."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from ullage.http.text import AnyText, FilledText

MAX_DOCUMENTS = 10_000
"""The most that Cohere documents for one call."""

MAX_CHUNKS = 1000


class Document(BaseModel):
    """Its `text` is ranked; other fields are given back with `return_documents`."""

    model_config = ConfigDict(extra="allow", strict=True)

    text: AnyText

    @model_validator(mode="after")
    def _can_be_given_back(self) -> Self:
        """A lone surrogate is no Unicode, and no answer could hold it."""
        if self.model_extra:
            try:
                json.dumps(self.model_extra, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise ValueError("a field of this document is not Unicode text") from None
        return self


def _shape(document: Any) -> str:
    return "text" if isinstance(document, str) else "object"


EitherDocument = Annotated[
    Annotated[AnyText, Tag("text")] | Annotated[Document, Tag("object")], Discriminator(_shape)
]


def _is_false(value: bool) -> bool:
    if value:
        raise ValueError("a ranking has no embeddings to give: leave it out, or send false")
    return value


No = Annotated[bool, AfterValidator(_is_false), Field(json_schema_extra={"const": False})]
"""`Literal[False]` would take 0."""


class RerankRequest(BaseModel):
    """Documents over the model's limit are cut at their end, as Cohere and Jina do.

    `max_chunks_per_doc` (Cohere v1) reads each in up to so many overlapping windows instead and takes the best;
    `max_tokens_per_doc` (v2) cuts them shorter; Jina's `truncation: false` refuses them.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=128)] | None = None
    query: FilledText
    documents: Annotated[list[EitherDocument], Field(min_length=1, max_length=MAX_DOCUMENTS)]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool | None = None
    rank_fields: list[Literal["text"]] | None = None
    max_chunks_per_doc: Annotated[int, Field(ge=1, le=MAX_CHUNKS)] | None = None
    max_tokens_per_doc: Annotated[int, Field(ge=1)] | None = None
    truncation: bool | None = None
    priority: Annotated[int, Field(ge=0, le=0)] | None = Field(None, description="0 only: all are served alike")
    return_embeddings: No | None = None

    @property
    def texts(self) -> list[str]:
        return [document if isinstance(document, str) else document.text for document in self.documents]


class Result(BaseModel):
    """`relevance_score` is 1 / (1 + e^-logit). `tokens` read and `truncated` are ours."""

    index: int
    relevance_score: float
    logit: float
    tokens: int
    truncated: bool
    document: dict[str, Any] | None = None


class RerankUsage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class RerankResponse(BaseModel):
    """Cohere's `id`, `results` and `meta` beside Jina's `model`, `object` and `usage`."""

    id: str
    object: Literal["list"] = "list"
    model: str
    results: list[Result]
    usage: RerankUsage
    meta: dict[str, Any]


class TeiRequest(BaseModel):
    """`raw_scores` asks for logits instead of 0..1."""

    model_config = ConfigDict(extra="forbid", strict=True)

    query: FilledText
    texts: Annotated[list[AnyText], Field(min_length=1, max_length=MAX_DOCUMENTS)]
    raw_scores: bool = False
    return_text: bool = False
    truncate: bool | None = False
    truncation_direction: Literal["Right", "right"] | None = Field(None, description="a query is never cut")


class TeiRank(BaseModel):
    index: int
    score: float
    text: str | None = None


def _kind(body: Any) -> str:
    if isinstance(body, TeiRequest):
        return "tei"
    return "tei" if isinstance(body, dict) and "texts" in body else "cohere"


EitherRequest = Annotated[
    Annotated[TeiRequest, Tag("tei")] | Annotated[RerankRequest, Tag("cohere")], Discriminator(_kind)
]
"""The body of `/rerank`: TEI's has `texts`, the others' `documents`; neither takes the other's fields."""
