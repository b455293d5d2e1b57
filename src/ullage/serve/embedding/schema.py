"""Bodies of `POST /v1/embeddings`, OpenAI's with the fields the embedding NIM adds, and of TEI's `POST /embed`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from ullage.http.text import AnyText

EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary"]
MAX_INTEGER = 2**31 - 1


def _is_text(value: Any) -> Any:
    """Refuse tokens and images in words that say so."""
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, int | list) and not isinstance(item, bool) for item in items):
        raise ValueError("token ids are not taken: give text")
    if any(isinstance(item, str) and item.lstrip().startswith("data:image/") for item in items):
        raise ValueError("images are not taken: this model embeds text")
    return value


def _shape(value: Any) -> str:
    return "texts" if isinstance(value, list) else "text"


Texts = Annotated[
    Annotated[AnyText, Tag("text")] | Annotated[list[AnyText], Tag("texts"), Field(min_length=1)],
    Discriminator(_shape),
    BeforeValidator(_is_text),
]
"""One text or several."""


Dimensions = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER, json_schema_extra={"minimum": 1})]
"""Below 1 has a code of its own (`wanted_dimensions`)."""


def _is_text_modality(value: Any) -> Any:
    if any(item not in ("text", None) for item in (value if isinstance(value, list) else [value])):
        raise ValueError("this model embeds text: leave modality out, or send 'text'")
    return value


class EmbeddingRequest(BaseModel):
    """`model` may end in `-query` or `-passage` instead of `input_type`. `user` is accepted and has no use."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: Annotated[str, Field(min_length=1, max_length=128)]
    input: Texts
    input_type: Literal["query", "passage"] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    embedding_type: EmbeddingType | None = None
    dimensions: Dimensions | None = None
    truncate: Literal["NONE", "START", "END"] | None = None
    modality: Annotated[Literal["text"] | list[Literal["text"]] | None, BeforeValidator(_is_text_modality)] = None
    user: str | None = None


class Embedding(BaseModel):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | list[int] | str


class Usage(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class TeiEmbedRequest(BaseModel):
    """`prompt_name` is `query` or `passage`: the prefix of the model's card."""

    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: Texts
    normalize: bool | None = True
    truncate: bool | None = False
    truncation_direction: Literal["Left", "Right", "left", "right"] | None = None
    prompt_name: Literal["query", "passage", "document"] | None = None
    dimensions: Dimensions | None = None
