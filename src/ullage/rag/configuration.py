"""What the RAG server is set to, in the blueprint's shape: its web page takes its defaults from here."""

from __future__ import annotations

from typing import Any

from ullage.settings import Settings


def configuration(settings: Settings) -> dict[str, Any]:
    return {
        "rag_configuration": {
            "temperature": 0.0,
            "top_p": 1.0,
            "max_tokens": settings.llm_max_tokens,
            "vdb_top_k": settings.retrieve_top_k,
            "reranker_top_k": min(settings.rerank_top_k, settings.retrieve_top_k),
            "confidence_threshold": 0.0,
        },
        "feature_toggles": {
            "enable_reranker": settings.enable_reranker,
            "enable_citations": True,
            "enable_guardrails": False,
            "enable_query_rewriting": False,
            "enable_vlm_inference": False,
            "enable_filter_generator": False,
        },
        "models": {
            "llm_model": settings.llm_model,
            "embedding_model": settings.embedding_model,
            "reranker_model": settings.ranking_model,
            "vlm_model": "",
        },
        "endpoints": {
            "llm_endpoint": settings.url("llm"),
            "embedding_endpoint": settings.url("embedding"),
            "reranker_endpoint": settings.url("ranking"),
            "vlm_endpoint": "",
            "vdb_endpoint": settings.url("vectors"),
        },
    }
