"""Names of the stack we replace, and the setting of ours each one sets.

Source: `NIM_*` of the NeMo Retriever NIMs (both generations), `APP_*` of the RAG Blueprint 2.6.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ullage.settings.model import Service

PREFIXES = ("ULLAGE_", "NIM_", "APP_")


@dataclass(frozen=True, slots=True)
class Foreign:
    """`target` may hold `{service}`: the name then speaks to the one service being started."""

    target: str
    convert: Callable[[str], str] = str


def _base_url(value: str) -> str:
    """`host:port`, with or without scheme and `/v1`, as the blueprint writes it."""
    value = value if "://" in value or not value else f"http://{value}"
    return value.rstrip("/").removesuffix("/v1")


def _port_of(value: str) -> str:
    return value.rsplit(":", 1)[-1]


def _host_of(value: str) -> str:
    return value.rsplit(":", 1)[0].strip("[]")


def _log_format(value: str) -> str:
    return "json" if value.strip().lower() in ("1", "true", "json") else "pretty"


FOREIGN: dict[str, tuple[Foreign, ...]] = {
    "NIM_HTTP_API_PORT": (Foreign("{service}_port"),),
    "NIM_CACHE_PATH": (Foreign("cache_dir"),),
    "NIM_LOG_LEVEL": (Foreign("log_level", str.upper),),
    "NIM_JSONL_LOGGING": (Foreign("log_format", _log_format),),
    "NIM_LOGGING_JSONL": (Foreign("log_format", _log_format),),
    "NIM_SERVER_BIND_ADDR": (Foreign("host", _host_of), Foreign("{service}_port", _port_of)),
    "NIM_BIND_ADDR": (Foreign("host", _host_of), Foreign("{service}_port", _port_of)),
    "NIM_SERVER_REQUEST_TIMEOUT_S": (Foreign("request_timeout_s"),),
    "NIM_REQUEST_TIMEOUT_S": (Foreign("request_timeout_s"),),
    "NIM_SERVER_HTTP_BODY_LIMIT_BYTES": (Foreign("max_body"),),
    "NIM_TRITON_MAX_SEQ_LENGTH": (Foreign("max_sequence"),),
    "APP_VECTORSTORE_URL": (Foreign("vectors_uri"),),
    "APP_RANKING_SERVERURL": (Foreign("ranking_url", _base_url),),
    "APP_EMBEDDINGS_SERVERURL": (Foreign("embedding_url", _base_url),),
    "APP_LLM_SERVERURL": (Foreign("llm_url", _base_url),),
    "APP_RETRIEVER_TOPK": (Foreign("rerank_top_k"),),
    "APP_NVINGEST_CHUNKSIZE": (Foreign("chunk_tokens"),),
    "APP_NVINGEST_CHUNKOVERLAP": (Foreign("chunk_overlap"),),
    "VECTOR_DB_TOPK": (Foreign("retrieve_top_k"),),
    "ENABLE_RERANKER": (Foreign("enable_reranker"),),
    "COLLECTION_NAME": (Foreign("collection"),),
    "LLM_MAX_TOKENS": (Foreign("llm_max_tokens"),),
}


def resolve(name: str, value: str, service: Service | None) -> list[tuple[str, str]]:
    """(setting, value) pairs a foreign name stands for.

    A name that speaks to one service says nothing to a command that starts several.
    """
    pairs = []
    for foreign in FOREIGN[name]:
        if "{service}" in foreign.target and service is None:
            continue
        pairs.append((foreign.target.format(service=service), foreign.convert(value.strip("\"'"))))
    return pairs
