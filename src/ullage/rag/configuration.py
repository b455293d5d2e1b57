"""What the RAG server is set to, in the blueprint's shape: its web page takes its defaults from here."""

from __future__ import annotations

from typing import Any

from ullage.settings import Settings


def configuration(settings: Settings) -> dict[str, Any]:
    return {
        "rag_configuration": {
            "temperature": settings.llm_temperature,
            "top_p": 1.0 if settings.llm_top_p is None else settings.llm_top_p,
            "max_tokens": settings.llm_max_tokens,
            "vdb_top_k": settings.retrieve_top_k,
            "reranker_top_k": min(settings.rerank_top_k, settings.retrieve_top_k),
            "confidence_threshold": settings.confidence_threshold,
        },
        "feature_toggles": {
            "enable_reranker": settings.enable_reranker,
            "enable_citations": settings.enable_citations,
            "enable_guardrails": settings.enable_guardrails,
            "enable_query_rewriting": settings.enable_query_rewriting,
            "enable_vlm_inference": settings.enable_vlm_inference,
            "enable_filter_generator": settings.enable_filter_generator,
        },
        "models": {
            "llm_model": settings.llm_model,
            "embedding_model": settings.embedding_model,
            "reranker_model": settings.ranking_model,
            "vlm_model": settings.vlm_model,
        },
        "endpoints": {
            "llm_endpoint": settings.url("llm"),
            "embedding_endpoint": settings.url("embedding"),
            "reranker_endpoint": settings.url("ranking"),
            "vlm_endpoint": settings.vlm_url,
            "vdb_endpoint": settings.url("vectors"),
        },
    }
