"""Model services whose engine computes nothing heavy: the real tokenizer and routes, numbers that can be checked."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from processes import Service, clean_environment, free_port
from ullage.devices import detect
from ullage.engines.base import Engine
from ullage.engines.dummy import DummyEngine
from ullage.errors import OutOfMemory
from ullage.http.run import claim_port
from ullage.models.card import find_card
from ullage.models.files import locate
from ullage.models.tokenize import Tokenizer
from ullage.plan import ServicePlan, plan_service
from ullage.settings import Settings

MODEL = "ullage/minilm-fusion-ranker"


def cross_encoder_plan(settings: Settings) -> ServicePlan:
    """The bundled ranking model's plan, read as that of a cross-encoder: a row's logit depends on that row alone."""
    card = find_card(MODEL, "ranking").model_copy(update={"kind": "cross-encoder"})
    return plan_service("ranking", card, settings, detect())["ranking"]


def smaller(planned: ServicePlan, *tokens: int) -> ServicePlan:
    """The same plan with fallbacks of so many tokens."""
    assert planned.profile is not None
    steps = [replace(planned, profile=replace(planned.profile, max_tokens=count)) for count in tokens]
    return replace(planned, fallbacks=tuple(steps))


def open_with(
    monkeypatch: pytest.MonkeyPatch, engines: Iterable[Engine] | Callable[..., Engine]
) -> list[dict[str, Any]]:
    """Let every encoder open the next of `engines`; gives back what each opener call was asked for."""
    asked: list[dict[str, Any]] = []
    following = None if callable(engines) else iter(engines)

    def opener(card: Any, profile: Any, ledger: Any, **named: Any) -> tuple[Tokenizer, Engine]:
        asked.append({"profile": profile, "ledger": ledger, **named})
        engine = engines(profile=profile, **named) if following is None else next(following)
        return Tokenizer(locate(find_card(MODEL, "ranking"), named["cache_dir"])["tokenizer"]), engine

    monkeypatch.setattr("ullage.serve.encoder.open_encoder", opener)
    return asked


class Small(DummyEngine):
    """Does not load."""

    def load(self) -> None:
        raise OutOfMemory("the device has 5 bytes left")


@asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[str]:
    """Serve an app on a real port of this machine, in this process; its base URL, once it is ready."""
    listener, server = _server_of(app)
    serving = asyncio.create_task(server._serve([listener]))
    try:
        async with asyncio.timeout(60):
            while not (server.started and app.state.health.ready):
                assert not serving.done(), serving.exception()
                assert app.state.failure is None, app.state.failure
                await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


@contextmanager
def in_thread(app: FastAPI) -> Iterator[str]:
    """The same in a thread with an event loop of its own, for whole sessions of tests that each have theirs."""
    listener, server = _server_of(app)
    thread = threading.Thread(target=server.run, args=([listener],), name=f"serves-{app.title}")
    thread.start()
    try:
        deadline = time.monotonic() + 60
        while not (server.started and app.state.health.ready):
            assert thread.is_alive(), f"{app.title} ended"
            assert app.state.failure is None, app.state.failure
            assert time.monotonic() < deadline, f"{app.title} is not ready"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def _server_of(app: FastAPI) -> tuple[socket.socket, uvicorn.Server]:
    """At a free port of this machine."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on")
    return claim_port("127.0.0.1", 0), uvicorn.Server(config)


def start_dummy(log: Path, tokens_per_s: int, **environment: str) -> Service:
    """A process of `dummy_ranking.py` that is not ready yet; whoever starts it ends it."""
    port = free_port()
    command = [sys.executable, str(Path(__file__).parent / "dummy_ranking.py"), str(port), str(tokens_per_s)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=clean_environment(**environment))
    return Service(process, f"http://127.0.0.1:{port}", log)
