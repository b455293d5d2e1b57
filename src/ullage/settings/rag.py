"""Settings of the RAG server: how it retrieves, answers, checks and degrades. A part of `Settings`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, SecretStr

BUNDLED_LLM = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""It can neither rewrite a question nor judge an answer; rules do, where it is all there is."""

Contradiction = tuple[tuple[str, ...], str]


class RagSettings(BaseModel):
    """Defaults are the blueprint's, but multi-turn is on. A request may say otherwise where it has a field."""

    degrade: bool = Field(True, description="answer without a service that is away, and say so; false: 503")
    request_endpoints: str = Field("", description="URLs, comma-separated, that a request may name as *_endpoint")
    chat_shape: Literal["auto", "blueprint", "openai"] = Field(
        "auto", description="of /chat/completions; auto: OpenAI's for a body with stream, or of OpenAI's fields alone")
    embedding_timeout_s: float = Field(15.0, gt=0, le=3600, description="after this rag searches by words alone")
    llm_silence_s: float = Field(60.0, gt=0, le=3600, description="without a token for so long rag quotes instead")
    llm_temperature: float = Field(0.0, ge=0, le=1, description="of answers, unless the request says")
    llm_top_p: float | None = Field(None, ge=0.1, le=1, description="of answers, unless the request says")
    llm_api_key: SecretStr | None = Field(None, description="key that llm_url wants")
    embedding_api_key: SecretStr | None = Field(None, description="key that embedding_url wants")
    ranking_api_key: SecretStr | None = Field(None, description="key that ranking_url wants")

    search_type: Literal["hybrid", "dense"] = Field("hybrid", description="by meaning and words, or by meaning alone")
    search_fusion: Literal["rrf", "weighted"] = Field("rrf", description="how the two searches become one")
    dense_weight: float = Field(0.5, ge=0, le=1, description="of search by meaning, with search_fusion weighted")
    sparse_weight: float = Field(0.5, ge=0, le=1, description="of search by words, with search_fusion weighted")
    confidence_threshold: float = Field(0.0, ge=0, le=1, description="passages that score less are dropped")
    partial_filters: bool = Field(False, description="skip collections whose schema lacks a filter's field")
    full_page_context: bool = Field(False, description="put the whole pages of the passages before the LLM")
    neighbour_pages: int = Field(0, ge=0, le=10, description="and so many pages on each side; needs full_page_context")

    enable_citations: bool = Field(True, description="list the passages with the answer, unless a request says")
    unsupported_sentences: Literal["withhold", "mark"] = Field(
        "withhold", description="what becomes of the LLM's sentences that no passage supports")
    judgement: Literal["auto", "rules", "llm"] = Field(
        "auto", description="who rewrites questions, writes filters and judges; auto: rules with the bundled LLM")
    enable_query_rewriting: bool = Field(True, description="make follow-up questions stand alone")
    conversation_turns: int = Field(5, ge=0, le=50, description="earlier questions that count; 0: none")
    enable_filter_generator: bool = Field(False, description="read a metadata filter out of the question")
    enable_query_decomposition: bool = Field(False, description="search for the parts of a question too")
    decomposition_depth: int = Field(3, ge=1, le=5, description="rounds of further parts, with an LLM that judges")
    enable_reflection: bool = Field(False, description="judge passages and answer, and try again")
    reflection_loops: int = Field(3, ge=1, le=10, description="tries at most")
    relevance_threshold: int = Field(1, ge=0, le=2, description="passages judged lower are searched for again")
    groundedness_threshold: int = Field(1, ge=0, le=2, description="an answer judged lower is written again")
    reflection_llm_url: str = Field("", description="LLM that judges; empty: llm_url")
    reflection_llm_model: str = Field("", description="what it is asked for; empty: llm_model")

    enable_guardrails: bool = Field(False, description="have questions and answers checked at guardrails_url")
    guardrails_url: str = Field("", description="NeMo Guardrails (or alike) with /v1/guardrail/checks")
    guardrails_config: str = Field("nemoguard", max_length=256, description="configuration that it is asked for")
    guardrails_timeout_s: float = Field(15.0, gt=0, le=3600, description="of one check; without it nothing is answered")
    enable_vlm_inference: bool = Field(False, description="let the model at vlm_url answer, with pictures of the pages")
    vlm_url: str = Field("", description="OpenAI-compatible base of a model that sees pictures; empty: none")
    vlm_model: str = Field("", max_length=256, description="what it is asked for; empty: the first it lists")
    vlm_api_key: SecretStr | None = Field(None, description="key that vlm_url wants")
    vlm_to_llm_fallback: bool = Field(True, description="where there is no picture, or no VLM, the LLM answers")
    vlm_max_images: int = Field(5, ge=0, le=64, description="pictures of a request, those of its pages included")
    vlm_max_tokens: int = Field(1024, ge=1, le=128_000, description="tokens of its answer")
    vlm_temperature: float = Field(0.0, ge=0, le=1, description="of its answers")
    vlm_top_p: float | None = Field(None, ge=0.1, le=1, description="of its answers")

    def rag_contradictions(self) -> list[Contradiction]:
        """(settings, what is wrong) of those that cannot hold together."""
        found: list[Contradiction] = []
        if self.enable_guardrails and not self.guardrails_url:
            found.append((("enable_guardrails", "guardrails_url"),
                          "enable_guardrails=true needs guardrails_url, where checks are made"))
        if self.enable_vlm_inference and not self.vlm_url:
            found.append((("enable_vlm_inference", "vlm_url"),
                          "enable_vlm_inference=true needs vlm_url, the model that sees"))
        if self.neighbour_pages and not self.full_page_context:
            found.append((("neighbour_pages", "full_page_context"),
                          f"neighbour_pages={self.neighbour_pages} needs full_page_context"))
        if self.search_fusion == "weighted" and not self.dense_weight + self.sparse_weight:
            found.append((("dense_weight", "sparse_weight"), "dense_weight and sparse_weight cannot both be 0"))
        return found

    @property
    def permitted_endpoints(self) -> tuple[str, ...]:
        return tuple(url.strip() for url in self.request_endpoints.split(",") if url.strip())
