"""What the RAG server depends on, and whether each answers: asked anew for every report."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx

from ullage.errors import UllageError
from ullage.rag.pipeline import Clients
from ullage.settings import Service, Settings

PROBE_S = 5.0
_MODELS: tuple[tuple[str, Service], ...] = (("LLM", "llm"), ("Embeddings", "embedding"), ("Ranking", "ranking"))


async def report(clients: Clients, settings: Settings, *, check: bool) -> dict[str, Any]:
    """The blueprint's health body. Without `check` nothing is probed and the lists are empty."""
    body: dict[str, Any] = {"message": "Service is up.", "databases": [], "object_storage": [], "nim": []}
    if check:
        database, *models = await asyncio.gather(
            _database(clients), *(_model(name, service, settings) for name, service in _MODELS)
        )
        body["databases"].append(database)
        body["nim"] += models
    return body


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


async def _model(name: str, service: Service, settings: Settings) -> dict[str, Any]:
    url = settings.url(service)
    item: dict[str, Any] = {"service": name, "url": url, "status": "healthy", "error": None, "http_status": None,
                            "model": settings.model(service), "message": None}
    if service == "ranking" and not settings.enable_reranker:
        return {**item, "status": "skipped", "latency_ms": 0.0, "message": "enable_reranker is off"}
    begun = time.perf_counter()
    try:
        async with httpx.AsyncClient(timeout=PROBE_S) as http:
            answer = await http.get(f"{url.removesuffix('/v1')}/v1/health/ready")
        item["http_status"] = answer.status_code
        if answer.status_code >= 400:
            item |= {"status": "unhealthy", "error": f"{url} is not ready: status {answer.status_code}"}
    except httpx.TimeoutException:
        item |= {"status": "timeout", "error": f"no answer within {PROBE_S:g} s"}
    except httpx.HTTPError as error:
        item |= {"status": "unhealthy", "error": f"{url} cannot be reached ({str(error) or type(error).__name__})"}
    return {**item, "latency_ms": _ms(begun)}


def _ms(begun: float) -> float:
    return round((time.perf_counter() - begun) * 1e3, 3)
