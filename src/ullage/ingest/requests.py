"""The bodies of the ingestor API (RAG Blueprint 2.6): what a request may say.

Unknown fields are ignored, as clients of several versions send more than this one reads.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from ullage.store import MetadataField
from ullage.store.metadata import repeated_names

Pages = Annotated[list[int], Field(min_length=2, max_length=2)]


class SplitOptions(BaseModel):
    chunk_size: Annotated[int, Field(ge=16, le=8192)] | None = None
    chunk_overlap: Annotated[int, Field(ge=0, le=4096)] | None = None


class CustomMetadata(BaseModel):
    filename: str
    metadata: dict[str, Any] = Field(default_factory=dict)


class CatalogMetadata(BaseModel):
    filename: str
    description: str = ""
    tags: list[str] = Field(default_factory=list)


class SummaryOptions(BaseModel):
    """`page_filter`: ranges of pages from 1 (negative: from the end), `even` or `odd`."""

    page_filter: Annotated[list[Pages], Field(min_length=1, max_length=1000)] | Literal["even", "odd"] | None = None
    shallow_summary: bool = False
    summarization_strategy: Literal["single", "hierarchical"] | None = None

    @field_validator("page_filter")
    @classmethod
    def _ranges(cls, value: list[Pages] | str | None) -> list[Pages] | str | None:
        for first, last in value if isinstance(value, list) else ():
            if 0 in (first, last) or ((first > 0) == (last > 0) and first > last):
                raise ValueError(f"[{first}, {last}] is no range of pages: they count from 1, or from the end from -1")
        return value


class SplitProcessing(BaseModel):
    pages_per_chunk: Annotated[int, Field(ge=1)] = 16


class UploadData(BaseModel):
    """The `data` part of an upload. Splitting PDFs for processing changes nothing here: their pages always stream."""

    collection_name: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    blocking: bool = False
    split_options: SplitOptions = Field(default_factory=SplitOptions)
    custom_metadata: list[CustomMetadata] = Field(default_factory=list)
    documents_catalog_metadata: list[CatalogMetadata] = Field(default_factory=list)
    generate_summary: bool = False
    summary_options: SummaryOptions | None = None
    enable_pdf_split_processing: bool = False
    pdf_split_processing_options: SplitProcessing = Field(default_factory=SplitProcessing)

    @model_validator(mode="after")
    def _summaries_agree(self) -> Self:
        if self.summary_options is not None and not self.generate_summary:
            raise ValueError("summary_options need generate_summary=true")
        return self


class CollectionRequest(BaseModel):
    collection_name: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    metadata_schema: list[MetadataField] = Field(default_factory=list, max_length=200)
    description: str = ""
    tags: list[str] = Field(default_factory=list)
    owner: str = ""
    created_by: str = ""
    business_domain: str = ""
    status: str = "Active"

    @field_validator("metadata_schema")
    @classmethod
    def _once(cls, value: list[MetadataField]) -> list[MetadataField]:
        if repeated := repeated_names(value):
            raise ValueError(f"fields named twice: {', '.join(repeated)}")
        return value

    def info(self, now: str) -> dict[str, Any]:
        said = self.model_dump(exclude={"collection_name", "metadata_schema"})
        return {**said, "date_created": now, "last_updated": now}


class CollectionChange(BaseModel):
    """What is left out stays."""

    description: str | None = None
    tags: list[str] | None = None
    owner: str | None = None
    business_domain: str | None = None
    status: str | None = None


class DocumentChange(BaseModel):
    """What is left out stays."""

    description: str | None = None
    tags: list[str] | None = None
