"""A hashing embedding service on a loopback port, and ingestors that use it with a real Milvus Lite."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from hashing import HashingEmbedder, RunIngest
from ullage.http.run import claim_port
from ullage.ingest.server import create_app
from ullage.settings import Settings


@pytest.fixture
def embedder() -> Iterator[HashingEmbedder]:
    service = HashingEmbedder()
    listener = claim_port("127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(service.app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield service
    service.gate.set()
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def ingest(embedder: HashingEmbedder, tmp_path: Path, model_cache: Path) -> RunIngest:
    """Run an ingestor until ready; the second one in a test finds what the first has left."""

    @asynccontextmanager
    async def running(**changes: object) -> AsyncIterator[httpx.AsyncClient]:
        settings = Settings.model_validate({
            "embedding_url": embedder.url,
            "vectors_uri": str(tmp_path / "vectors.db"),
            "state_dir": tmp_path,
            "cache_dir": model_cache,
            "collection": "c",
            "request_timeout_s": 5,
            **changes,
        })
        app = create_app(settings)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://ingest", timeout=60) as client,
        ):
            async with asyncio.timeout(30):
                while not app.state.health.ready:
                    assert app.state.failure is None, app.state.failure
                    await asyncio.sleep(0.01)
            yield client

    return running
