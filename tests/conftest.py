"""What many tests need: the bundled models, and an app behind a client in this process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import hypothesis
import pytest
import structlog
import trustme
from fastapi import FastAPI

from ullage.models.card import catalog
from ullage.models.files import pull
from ullage.settings import Settings

# The time of one example says nothing where others use the machine too.
hypothesis.settings.register_profile("ullage", deadline=None)
hypothesis.settings.load_profile("ullage")

Serve = Callable[[FastAPI], AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(autouse=True)
def logs_as_they_were() -> Iterator[None]:
    """A test that configures the logs must not leave them on a stream that is gone."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """The user's model cache, with every bundled model in it."""
    cache = Settings().cache_dir
    for card in catalog():
        pull(card, cache)
    return cache


@pytest.fixture(scope="module")
def tls_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of `stack.example` and its key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = trustme.CA().issue_cert("stack.example")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def serve() -> Serve:
    """Run an app until ready and talk to it without a socket."""

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://service") as client,
        ):
            async with asyncio.timeout(60):
                while not app.state.health.ready:
                    assert app.state.failure is None, app.state.failure
                    await asyncio.sleep(0.01)
            yield client

    return running
