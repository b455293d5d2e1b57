"""`/health` of the replaced ingestor: what it depends on, asked one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter

from ullage.errors import UllageError
from ullage.ingest.service import IngestService


def health_routes(service: IngestService) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def health(check_dependencies: bool = False) -> dict[str, Any]:
        """Always 200: whether this service is ready is said by `/v1/health/ready`."""
        body: dict[str, Any] = {"message": "Service is up."}
        body |= {part: [] for part in ("databases", "object_storage", "nim", "processing", "task_management")}
        if check_dependencies:
            body["databases"] = [await _asked("Milvus", service.settings.url("vectors"), lambda: _database(service))]
            body["object_storage"] = [await _asked("Object store", service.objects_at, lambda: _objects(service))]
            body["nim"] = [await _embedding(service), await _llm(service)]
            body["processing"] = [await _asked("Readers", "in this process", lambda: _processing(service))]
            name, where = ("PostgreSQL", at) if (at := service.shared_ledger) else ("SQLite", "in this process")
            body["task_management"] = [await _asked(f"{name} ledger", where, lambda: _tasks(service))]
        return body

    return router


async def _asked(name: str, url: str, ask: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    begun = time.perf_counter()
    error, more = None, {}
    try:
        more = await ask()
    except UllageError as refusal:
        error = refusal.message
    return {
        "service": name,
        "url": url,
        "status": "unhealthy" if error else "healthy",
        "latency_ms": round((time.perf_counter() - begun) * 1e3, 2),
        "error": error,
        **more,
    }


async def _database(service: IngestService) -> dict[str, Any]:
    store = service.ready_store()
    collections = await asyncio.to_thread(store.ping)
    able = await asyncio.to_thread(store.abilities)
    without = "" if able.sparse else f"{able.version} has no sparse vectors: dense search alone"
    return {"collections": collections, "version": able.version, "message": without}


async def _objects(service: IngestService) -> dict[str, Any]:
    await asyncio.to_thread(service.opened().kept.uploads.ping)
    return {"buckets": 1, "message": ""}


async def _processing(service: IngestService) -> dict[str, Any]:
    return {"http_status": None, "message": f"{service.opened().worker.in_work} files in work"}


async def _tasks(service: IngestService) -> dict[str, Any]:
    files, size = await asyncio.to_thread(service.opened().ledger.backlog)
    return {"message": f"{files} files of {size} bytes are not finished"}


async def _embedding(service: IngestService) -> dict[str, Any]:
    return await _model("Embeddings", service.settings.url("embedding"), service.embedder.ready, service.made_by_name)


async def _llm(service: IngestService) -> dict[str, Any]:
    settings = service.settings
    return await _model("Summary LLM", settings.summary_llm_url or settings.url("llm"), service.llm.ready,
                        settings.summary_llm_model or settings.llm_model)


async def _model(name: str, url: str, ask: Callable[[], Awaitable[bool]], model: str) -> dict[str, Any]:
    begun = time.perf_counter()
    ready = await ask()
    return {
        "service": name,
        "url": url,
        "status": "healthy" if ready else "unhealthy",
        "latency_ms": round((time.perf_counter() - begun) * 1e3, 2),
        "error": None if ready else f"{name} at {url} is not ready",
        "model": model,
        "message": "",
        "http_status": 200 if ready else 503,
    }
