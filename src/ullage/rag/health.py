"""What the RAG server depends on, and whether each answers: asked anew for every report."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from ullage.clients.door import door_of
from ullage.errors import UllageError
from ullage.rag.connections import Clients
from ullage.settings import Settings
from ullage.store.bucket import Bucket

PROBE_S = 5.0


@dataclass(frozen=True, slots=True)
class _Dependency:
    """A model service. `skipped` says why it is not asked; `api_key` is sent with the question whether it is there."""

    name: str
    url: str
    model: str | None
    skipped: str = ""
    api_key: str = ""


def dependencies(settings: Settings) -> list[_Dependency]:
    """Those of the settings in force; the LLM stands in the list once for each part it plays."""
    llm_url, llm_model, key = settings.url("llm"), settings.llm_model, _secret(settings.llm_api_key)
    found = [
        _Dependency("LLM", llm_url, llm_model, api_key=key),
        _Dependency("Embeddings", settings.url("embedding"), settings.embedding_model,
                    api_key=_secret(settings.embedding_api_key)),
        _Dependency("Ranking", settings.url("ranking"), settings.ranking_model,
                    "" if settings.enable_reranker else "enable_reranker is off", _secret(settings.ranking_api_key)),
    ]
    judge = (settings.reflection_llm_url or llm_url, settings.reflection_llm_model or llm_model)
    if settings.llm_judges and settings.enable_query_rewriting:
        found.append(_Dependency("Query Rewriter", *judge, api_key=key))
    if settings.llm_judges and settings.enable_reflection:
        found.append(_Dependency("Reflection LLM", *judge, api_key=key))
    if settings.guardrails_url:
        found.append(_Dependency("NemoGuardrails", settings.guardrails_url, settings.guardrails_config))
    if settings.vlm_url:
        found.append(_Dependency("VLM", settings.vlm_url, settings.vlm_model, api_key=_secret(settings.vlm_api_key)))
    return found


def _secret(key: SecretStr | None) -> str:
    return key.get_secret_value() if key is not None else ""


async def report(clients: Clients, settings: Settings, *, check: bool) -> dict[str, Any]:
    """The blueprint's health body. Without `check` nothing is probed and the lists are empty."""
    body: dict[str, Any] = {"message": "Service is up.", "databases": [], "object_storage": [], "nim": []}
    if check:
        database, objects, *models = await asyncio.gather(
            _database(clients), _objects(settings), *(_model(one) for one in dependencies(settings)))
        body |= {"databases": [database], "object_storage": [objects], "nim": models}
    return body


async def _objects(settings: Settings) -> dict[str, Any]:
    """Where the ingestor keeps pictures of pages; only answers of a model that sees need them."""
    where = settings.objects_uri or str(settings.state_dir / "ingest")
    begun = time.perf_counter()
    item: dict[str, Any] = {"service": "Object store", "url": where, "status": "healthy", "error": None, "buckets": 1,
                            "message": ""}
    if "://" not in where:
        if not await asyncio.to_thread(Path(where).is_dir):
            item |= {"status": "skipped", "buckets": 0, "message": "there is no such folder yet"}
        return {**item, "latency_ms": _ms(begun)}
    try:
        async with asyncio.timeout(PROBE_S):
            await asyncio.to_thread(lambda: Bucket(where).ping())
    except TimeoutError:
        item |= {"status": "timeout", "error": f"no answer within {PROBE_S:g} s"}
    except UllageError as error:
        item |= {"status": "unhealthy", "error": error.message}
    return {**item, "latency_ms": _ms(begun)}


async def _database(clients: Clients) -> dict[str, Any]:
    begun = time.perf_counter()
    item: dict[str, Any] = {"service": "Milvus", "url": clients.vectors.uri, "status": "healthy", "error": None}
    try:
        async with asyncio.timeout(PROBE_S):
            item["collections"] = await asyncio.to_thread(clients.vectors.ping)
    except TimeoutError:
        item |= {"status": "timeout", "error": f"no answer within {PROBE_S:g} s"}
    except UllageError as error:
        item |= {"status": "unhealthy", "error": error.message}
    return {**item, "latency_ms": _ms(begun)}


async def _model(one: _Dependency) -> dict[str, Any]:
    item: dict[str, Any] = {"service": one.name, "url": one.url, "status": "healthy", "error": None,
                            "http_status": None, "model": one.model, "message": None}
    if one.skipped:
        return {**item, "status": "skipped", "latency_ms": 0.0, "message": one.skipped}
    begun = time.perf_counter()
    base = one.url.removesuffix("/v1")
    door = door_of(base)
    headers = {"Authorization": f"Bearer {one.api_key}"} if one.api_key else door.headers
    try:
        async with httpx.AsyncClient(timeout=PROBE_S, headers=headers, verify=door.verify) as http:
            answer = await http.get(f"{base}/v1/health/ready")
            if answer.status_code in (404, 405):  # no service of this family: is it any OpenAI-compatible one?
                answer = await http.get(f"{base}/v1/models")
        item["http_status"] = answer.status_code
        if answer.status_code >= 400:
            item |= {"status": "unhealthy", "error": f"{one.url} is not ready: status {answer.status_code}"}
    except httpx.TimeoutException:
        item |= {"status": "timeout", "error": f"no answer within {PROBE_S:g} s"}
    except httpx.HTTPError as error:
        item |= {"status": "unhealthy", "error": f"{one.url} cannot be reached ({str(error) or type(error).__name__})"}
    return {**item, "latency_ms": _ms(begun)}


def _ms(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1e3, 3)
