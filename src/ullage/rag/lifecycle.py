"""Ready as long as something useful can be answered: the vector database answers, words or vectors find in it."""

from __future__ import annotations

import asyncio
import gc
import sys
from concurrent.futures import ThreadPoolExecutor

from ullage.errors import UllageError
from ullage.http import Health
from ullage.rag.connections import Clients
from ullage.rag.pipeline import Rag
from ullage.settings import Settings

RETRY_S = 0.5
PROVE_S = 5.0
WATCH_S = 5.0
THREADS = 64
"""Most wait for the database. asyncio's own number, six on two cores, made questions wait for each other's searches."""

SWITCH_S = 0.001
"""How long a thread that reads what a search found may keep the interpreter while the event loop waits for it. Python's
own 5 ms would be waited at each of the loop's system calls."""

COLLECT_EVERY = (10_000, 20, 20)
"""Objects between two looks for cycles, and looks between two deeper ones. An answer makes thousands of objects and
hardly a cycle: with Python's own 700, 8 to 10 % of the time of weighing sentences went into looking. Nothing here is
large; services that hold tensors or pictures keep to Python's."""


class RagLifecycle:
    """Ranking, LLM and, where the database can search by words, the embedder may be away: answers say so."""

    def __init__(self, rag: Rag, watch_s: float = WATCH_S) -> None:
        self._rag = rag
        self._watch_s = watch_s
        self._watching: asyncio.Task[None] | None = None

    async def start(self, health: Health) -> None:
        sys.setswitchinterval(SWITCH_S)
        gc.set_threshold(*COLLECT_EVERY)
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "rag"))
        while reason := await missing(self._rag.clients, self._rag.settings):
            health.loading(f"waiting: {reason}")
            await asyncio.sleep(RETRY_S)
        self._watching = asyncio.create_task(self._watch(health))

    async def _watch(self, health: Health) -> None:
        while True:
            await asyncio.sleep(self._watch_s)
            if reason := await missing(self._rag.clients, self._rag.settings):
                health.pause(reason)
            else:
                health.resume()

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._rag.connections.close()


async def missing(clients: Clients, settings: Settings) -> str:
    """What nothing can be answered without, and is not there; empty when all of it is."""
    try:
        async with asyncio.timeout(PROVE_S):
            await asyncio.to_thread(clients.vectors.ping)
            words = settings.search_type == "hybrid" and settings.degrade
            if words and (await asyncio.to_thread(clients.vectors.abilities)).sparse:
                return ""
            if await clients.embedding.ready():
                return ""
    except TimeoutError:
        return f"the vector database at {clients.vectors.uri} did not answer within {PROVE_S:g} s"
    except UllageError as error:
        return error.message
    return f"the embedder at {clients.embedding.base_url} is not ready"
