"""What each tool takes. A field that is left out is the server's affair; one that is not known is refused.

Names and bounds are those of the blueprint's HTTP bodies, which the servers behind check once more.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Collection = Annotated[str, Field(min_length=1, max_length=255, description="name of the collection")]
Names = Annotated[list[str], Field(min_length=1)]
Paths = Annotated[list[str], Field(min_length=1, description="files on the machine of this server")]
Metadata = list[dict[str, Any]]


class Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def body(self, *without: str) -> dict[str, Any]:
        """What was given, as JSON."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude=set(without))


class Message(Arguments):
    role: Literal["user", "assistant", "system"] = "user"
    content: str | list[dict[str, Any]]


class Retrieval(Arguments):
    collection_names: list[str] | None = Field(None, description="up to 5; else the server's default collection")
    vdb_top_k: int | None = Field(None, ge=1, le=400, description="candidates from the vector database")
    reranker_top_k: int | None = Field(None, ge=1, le=25, description="passages kept")
    vdb_endpoint: str | None = None
    enable_query_rewriting: bool | None = None
    enable_reranker: bool | None = None
    enable_filter_generator: bool | None = None
    embedding_model: str | None = None
    embedding_endpoint: str | None = None
    reranker_model: str | None = None
    reranker_endpoint: str | None = None
    filter_expr: str | list[dict[str, Any]] | None = Field(None, description='such as content_metadata["year"] > 2020')
    confidence_threshold: float | None = Field(None, ge=0, le=1, description="passages that score less are dropped")


class Generate(Retrieval):
    messages: list[Message] = Field(min_length=1, description="the conversation; the last message is the question")
    use_knowledge_base: bool | None = Field(None, description="false: the language model alone")
    temperature: float | None = Field(None, ge=0, le=1)
    top_p: float | None = Field(None, ge=0.1, le=1)
    min_tokens: int | None = Field(None, ge=0)
    max_tokens: int | None = Field(None, ge=0, le=128_000)
    ignore_eos: bool | None = None
    stop: list[str] | None = None
    enable_guardrails: bool | None = None
    enable_citations: bool | None = None
    enable_vlm_inference: bool | None = None
    model: str | None = None
    llm_endpoint: str | None = None
    vlm_model: str | None = None
    vlm_endpoint: str | None = None


class Search(Retrieval):
    query: str | list[dict[str, Any]] = Field(description="what to look for")
    messages: list[Message] | None = Field(None, description="the conversation before it")


class GetSummary(Arguments):
    collection_name: Collection
    file_name: str = Field(min_length=1)
    blocking: bool = Field(False, description="wait for it")
    timeout: float = Field(300, gt=0, le=3600, description="seconds to wait at most")


class OfCollection(Arguments):
    collection_name: Collection


class DeleteDocuments(OfCollection):
    document_names: Names


class Upload(OfCollection):
    file_paths: Paths
    blocking: bool = Field(True, description="wait until they are searchable")
    generate_summary: bool = Field(True, description="summarise each file too, see get_summary")
    custom_metadata: Metadata | None = Field(None, description="{filename, metadata} of each file")
    split_options: dict[str, int] | None = Field(None, description="chunk_size and chunk_overlap, in tokens")


class Update(Upload):
    generate_summary: bool = Field(False, description="summarise each file too, see get_summary")


class ListCollections(Arguments):
    pass


class CollectionMetadata(OfCollection):
    """What is left out stays."""

    description: str | None = None
    tags: list[str] | None = None
    owner: str | None = None
    business_domain: str | None = None
    status: str | None = None


class DocumentMetadata(OfCollection):
    """What is left out stays."""

    document_name: str = Field(min_length=1)
    description: str | None = None
    tags: list[str] | None = None


class CreateCollection(OfCollection):
    metadata_schema: Metadata | None = Field(None, description="fields: {name, type, required, ...}")
    description: str | None = None
    tags: list[str] | None = None
    owner: str | None = None
    created_by: str | None = None
    business_domain: str | None = None
    status: str | None = None


class DeleteCollections(Arguments):
    collection_names: Names
