"""Bodies of the RAG server's requests, as the blueprint has them; fields it does not know are ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

LONGEST_TEXT = 128_000
Name = Annotated[str, Field(max_length=256)]
Url = Annotated[str, Field(max_length=2048)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore")


class TextPart(_Body):
    type: Literal["text"]
    text: Annotated[str, Field(max_length=LONGEST_TEXT)]


class ImageUrl(_Body):
    url: Annotated[str, Field(max_length=20 << 20)]
    detail: Literal["low", "high", "auto"] = "auto"


class ImagePart(_Body):
    type: Literal["image_url"]
    image_url: ImageUrl


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]
Content = Annotated[str, Field(max_length=LONGEST_TEXT)] | list[Part]


class Message(_Body):
    role: Literal["user", "assistant", "system"] | None = "user"
    content: Content = ""
    reasoning_content: str | None = None


class Retrieval(_Body):
    """What /generate and /search share."""

    vdb_top_k: int | None = Field(None, ge=1, le=400)
    reranker_top_k: int | None = Field(None, ge=1, le=25)
    vdb_endpoint: Url | None = None
    collection_names: list[str] | None = None
    enable_query_rewriting: bool | None = None
    enable_reranker: bool | None = None
    enable_filter_generator: bool | None = None
    enable_citations: bool | None = None
    embedding_model: Name | None = None
    embedding_endpoint: Url | None = None
    reranker_model: Name | None = None
    reranker_endpoint: Url | None = None
    filter_expr: Annotated[str, Field(max_length=LONGEST_TEXT)] | list[dict[str, Any]] = ""
    confidence_threshold: float | None = Field(None, ge=0, le=1)


class Prompt(Retrieval):
    """`POST /generate`."""

    messages: list[Message] = Field(min_length=1, max_length=50_000)
    use_knowledge_base: bool = True
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, ge=0.1, le=1)
    min_tokens: int | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=0, le=128_000)
    ignore_eos: bool = False
    min_thinking_tokens: int | None = None
    max_thinking_tokens: int | None = None
    enable_query_decomposition: bool | None = Field(None, description="ours: search for the parts of the question too")
    enable_reflection: bool | None = Field(None, description="ours: judge passages and answer, and try again")
    fetch_full_page_context: bool | None = Field(None, description="ours: whole pages before the model")
    fetch_neighboring_pages: int | None = Field(None, ge=0, le=10, description="ours: and pages on each side")
    enable_guardrails: bool | None = None
    enable_vlm_inference: bool | None = None
    model: Annotated[str, Field(max_length=4096)] | None = None
    llm_endpoint: Url | None = None
    vlm_model: Name | None = None
    vlm_endpoint: Url | None = None
    vlm_temperature: float | None = Field(None, ge=0, le=1)
    vlm_top_p: float | None = Field(None, ge=0.1, le=1)
    vlm_max_tokens: int | None = Field(None, ge=0, le=128_000)
    vlm_max_total_images: int | None = Field(None, ge=0, le=64)
    vlm_enable_thinking: bool | None = None
    vlm_thinking_token_budget: int | None = Field(None, ge=0, le=65_536)
    vlm_filter_thinking_tokens: bool | None = None
    stop: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=256)] = Field(default_factory=list)
    agentic: bool | None = None
    enable_streaming: bool = True

    @field_validator("messages")
    @classmethod
    def _ends_with_a_question(cls, messages: list[Message]) -> list[Message]:
        if messages[-1].role not in ("user", None):
            raise ValueError("the last message must have the role user")
        if not texts_of(messages[-1].content).strip():
            raise ValueError("the last message must hold more than white space")
        return messages


class DocumentSearch(Retrieval):
    """`POST /search`. Without `query` the last user message is searched for."""

    query: Content | None = None
    messages: list[Message] = Field(default_factory=list)


def texts_of(content: str | list[TextPart | ImagePart]) -> str:
    """The text parts, joined."""
    if isinstance(content, str):
        return content
    return " ".join(part.text for part in content if isinstance(part, TextPart))


def images_of(content: str | list[TextPart | ImagePart]) -> tuple[str, ...]:
    """The URLs of its pictures."""
    return () if isinstance(content, str) else tuple(
        part.image_url.url for part in content if isinstance(part, ImagePart))


def has_image(content: str | list[TextPart | ImagePart]) -> bool:
    return not isinstance(content, str) and any(isinstance(part, ImagePart) for part in content)
