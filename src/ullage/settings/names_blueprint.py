"""Environment of the RAG Blueprint 2.6: RAG server, ingestor and their compose files."""

from __future__ import annotations

from ullage.settings.conversions import (
    FALSE,
    TRUE,
    base_url,
    flag,
    milvus_uri,
    number_or_none,
    same,
    shared_level,
)
from ullage.settings.foreign import Name, absent, holds, only, refused, sets

_INDEX = "ullage chooses the index of its collections itself"
_REASONING = "plays a part only with LLM_ENABLE_THINKING, which is off"
_SUMMARY = "summaries are made one after the other, from pieces that fit the LLM's context"
_COMPOSE = "read by compose files alone"
_UNSENT = "no credentials are sent to the services behind; leave it empty"

VECTORS = (
    only("APP_VECTORSTORE_NAME", ("milvus",), "vectors are kept in Milvus", "write milvus: it is the only store"),
    sets("APP_VECTORSTORE_URL", "vectors_uri", milvus_uri),
    sets("APP_VECTORSTORE_SEARCHTYPE", "search_type"),
    sets("APP_VECTORSTORE_RANKER_TYPE", "search_fusion"),
    sets("APP_VECTORSTORE_DENSE_WEIGHT", "dense_weight"),
    sets("APP_VECTORSTORE_SPARSE_WEIGHT", "sparse_weight"),
    holds("APP_VECTORSTORE_INDEXTYPE", _INDEX),
    absent("APP_VECTORSTORE_ENABLEGPUINDEX", "index on a GPU"),
    absent("APP_VECTORSTORE_ENABLEGPUSEARCH", "search on a GPU"),
    *(holds(f"APP_VECTORSTORE_{part}", _INDEX) for part in ("NLIST", "NPROBE", "EF")),
    *(refused(f"APP_VECTORSTORE_{part}", _UNSENT) for part in (
        "USERNAME", "PASSWORD", "APIKEY", "APIKEY_ID", "APIKEY_SECRET")),
    sets("COLLECTION_NAME", "collection"),
    sets("VECTOR_DB_TOPK", "retrieve_top_k"),
    holds("VECTORSTORE_GPU_DEVICE_ID", _COMPOSE),
    holds("ES_REQUEST_TIMEOUT", "no Elasticsearch is used"),
)

RETRIEVAL = (
    sets("APP_RETRIEVER_TOPK", "rerank_top_k"),
    holds("APP_RETRIEVER_SCORETHRESHOLD", "the replaced server reads it and never uses it"),
    sets("APP_FETCH_FULL_PAGE_CONTEXT", "full_page_context", flag),
    sets("APP_FETCH_NEIGHBORING_PAGES", "neighbour_pages"),
    sets("ENABLE_RERANKER", "enable_reranker", flag),
    sets("APP_RANKING_MODELNAME", "ranking_model"),
    sets("APP_RANKING_SERVERURL", "ranking_url", base_url),
    only("APP_RANKING_MODELENGINE", ("nvidia-ai-endpoints",), "the same API is spoken", "write nvidia-ai-endpoints"),
    sets("RERANKER_SCORE_THRESHOLD", "confidence_threshold"),
    sets("RERANKER_CONFIDENCE_THRESHOLD", "confidence_threshold"),
    sets("APP_EMBEDDINGS_MODELNAME", "embedding_model"),
    sets("APP_EMBEDDINGS_SERVERURL", "embedding_url", base_url),
    only("APP_EMBEDDINGS_MODELENGINE", ("nvidia-ai-endpoints",), "the same API is spoken", "write nvidia-ai-endpoints"),
    holds("APP_EMBEDDINGS_DIMENSIONS", "the width of a vector is read from the embedding model"),
    sets("ENABLE_FILTER_GENERATOR", "enable_filter_generator", flag),
    sets("APP_METADATA_ALLOWPARTIALFILTERING", "partial_filters", flag),
)

GENERATION = (
    sets("APP_LLM_MODELNAME", "llm_model"),
    sets("APP_LLM_SERVERURL", "llm_url", base_url),
    only("APP_LLM_MODELENGINE", ("nvidia-ai-endpoints",), "the same API is spoken", "write nvidia-ai-endpoints"),
    sets("LLM_MAX_TOKENS", "llm_max_tokens"),
    sets("LLM_TEMPERATURE", "llm_temperature", number_or_none, why="answers are greedy already"),
    sets("LLM_TOP_P", "llm_top_p", number_or_none, why="the model's own is used"),
    absent("LLM_ENABLE_THINKING", "reasoning by default"),
    holds("LLM_REASONING_BUDGET", _REASONING),
    holds("LLM_LOW_EFFORT", _REASONING),
    only("FILTER_THINK_TOKENS", TRUE, "reasoning is never shown", "write true"),
    sets("ENABLE_QUERYREWRITER", "enable_query_rewriting", flag),
    sets("CONVERSATION_HISTORY", "conversation_turns"),
    only("MULTITURN_RETRIEVER_SIMPLE", FALSE, "follow-up questions are rewritten, not joined to those before",
         "write false: follow-up questions are rewritten (ENABLE_QUERYREWRITER)"),
    sets("ENABLE_CITATIONS", "enable_citations", flag),
    only("ENABLE_SOURCE_METADATA", TRUE, "citations carry their source", "write true"),
    sets("ENABLE_GUARDRAILS", "enable_guardrails", flag),
    sets("NEMO_GUARDRAILS_URL", "guardrails_url", base_url),
    sets("ENABLE_REFLECTION", "enable_reflection", flag),
    sets("MAX_REFLECTION_LOOP", "reflection_loops"),
    sets("CONTEXT_RELEVANCE_THRESHOLD", "relevance_threshold"),
    sets("RESPONSE_GROUNDEDNESS_THRESHOLD", "groundedness_threshold"),
    sets("REFLECTION_LLM", "reflection_llm_model"),
    sets("REFLECTION_LLM_SERVERURL", "reflection_llm_url", base_url),
    sets("ENABLE_QUERY_DECOMPOSITION", "enable_query_decomposition", flag),
    sets("MAX_RECURSION_DEPTH", "decomposition_depth"),
    absent("ENABLE_AGENTIC_RAG", "agentic pipeline"),
    sets("ENABLE_VLM_INFERENCE", "enable_vlm_inference", flag),
    sets("VLM_TO_LLM_FALLBACK", "vlm_to_llm_fallback", flag),
    *(sets(f"APP_VLM_{part}", setting, convert) for part, setting, convert in (
        ("MODELNAME", "vlm_model", same), ("SERVERURL", "vlm_url", base_url), ("APIKEY", "vlm_api_key", same),
        ("TEMPERATURE", "vlm_temperature", same), ("TOP_P", "vlm_top_p", same), ("MAX_TOKENS", "vlm_max_tokens", same),
        ("MAX_TOTAL_IMAGES", "vlm_max_images", same))),
    refused("PROMPT_CONFIG_FILE", "prompts cannot be replaced yet; leave it empty"),
    sets("APP_RANKING_APIKEY", "ranking_api_key"),
    sets("APP_EMBEDDINGS_APIKEY", "embedding_api_key"),
    sets("APP_LLM_APIKEY", "llm_api_key"),
    holds("NVIDIA_API_KEY", "nothing is asked of the vendor's hosted services"),
)

INGESTION = (
    sets("APP_NVINGEST_CHUNKSIZE", "chunk_tokens"),
    sets("APP_NVINGEST_CHUNKOVERLAP", "chunk_overlap"),
    only("APP_NVINGEST_ENABLE_PAGED_DOC_SPLIT", TRUE, "chunk sizes hold for every format",
         "write true"),
    only("APP_NVINGEST_EXTRACTTEXT", TRUE, "text is always extracted", "write true"),
    only("APP_NVINGEST_EXTRACTTABLES", TRUE, "tables are always extracted", "write true"),
    only("APP_NVINGEST_EXTRACTCHARTS", TRUE, "charts are read: those in pictures where a vision service is set",
         "write true; without a vision service no picture is looked at"),
    *(absent(f"APP_NVINGEST_EXTRACT{part}", f"extraction of {what}") for part, what in (
        ("IMAGES", "images"), ("INFOGRAPHICS", "infographics"), ("PAGEASIMAGE", "pages as images"))),
    sets("APP_NVINGEST_CAPTIONENDPOINTURL", "caption_url", base_url),
    sets("APP_NVINGEST_CAPTIONMODELNAME", "caption_model"),
    only("APP_NVINGEST_PDFEXTRACTMETHOD", ("pdfium", "none"), "PDFs are read by pdfium", "write pdfium"),
    *(only(name, ("text",), "everything is embedded as text", "write text")
      for name in ("STRUCTURED_ELEMENTS_MODALITY", "IMAGE_ELEMENTS_MODALITY",
                   "APP_NVINGEST_STRUCTURED_ELEMENTS_MODALITY", "APP_NVINGEST_IMAGE_ELEMENTS_MODALITY")),
    refused("INGESTOR_BACKEND", "ullage reads documents itself; leave it out"),
    only("OBJECTSTORE_BACKEND", ("filesystem",), "uploads are kept in a folder",
         "write filesystem, or set ULLAGE_OBJECTS_URI=s3://BUCKET/PREFIX"),
    refused("OBJECTSTORE_ENDPOINT", "set ULLAGE_OBJECTS_URI=s3://BUCKET/PREFIX and AWS_ENDPOINT_URL; leave it empty"),
    sets("OBJECTSTORE_LOCAL_PATH", "objects_uri"),
    *(holds(name, "tasks are kept in SQLite and survive a restart without Redis") for name in (
        "ENABLE_REDIS_BACKEND", "REDIS_HOST", "REDIS_PORT", "REDIS_DB")),
    sets("SUMMARY_LLM", "summary_llm_model"),
    sets("SUMMARY_LLM_SERVERURL", "summary_llm_url", base_url),
    holds("SUMMARY_LLM_APIKEY", "no credentials are sent to the LLM that summarises"),
    *(holds(name, _SUMMARY) for name in (
        "SUMMARY_LLM_MAX_CHUNK_LENGTH", "SUMMARY_CHUNK_OVERLAP", "SUMMARY_MAX_PARALLELIZATION")),
    holds("TEMP_DIR", "uploads are streamed into state_dir"),
)

OPERATION = (
    sets("LOGLEVEL", "log_level", shared_level, why="this is no level of ours", shared=True),
    absent("APP_TRACING_ENABLED", "tracing"),
    holds("PROMETHEUS_MULTIPROC_DIR", "one process a service keeps its own metrics"),
    *(holds(name, _COMPOSE) for name in (
        "LLM_MS_GPU_ID", "LLM_MS_GPU_ID2", "USERID", "MODEL_DIRECTORY", "VITE_API_CHAT_URL", "VITE_API_VDB_URL")),
)

BLUEPRINT_NAMES: tuple[Name, ...] = (*VECTORS, *RETRIEVAL, *GENERATION, *INGESTION, *OPERATION)
