"""What the ingestor holds while it runs: opened at start, closed at stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ullage.clients import EmbeddingClient
from ullage.errors import DependencyDown, NotReady, SettingsError
from ullage.http import Health
from ullage.ingest.pipeline import Ingestor
from ullage.ingest.uploads import Limits, Uploads
from ullage.ingest.worker import Worker
from ullage.models.files import locate
from ullage.models.resolve import resolve
from ullage.models.tokenize import Tokenizer
from ullage.settings import Settings
from ullage.store import Ledger, ObjectFolder, VectorStore

PAUSE_S = 0.5


class IngestService:
    """A lifecycle: ready once the database answers and the embedder has embedded a text.

    Raises SettingsError, ModelNotFound or ModelCorrupt at once when it could never work.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        card = resolve(settings.embedding_model, "embedding")
        self._tokenizer = Tokenizer(locate(card, settings.cache_dir)["tokenizer"])
        specials = len(self._tokenizer.encode([""])[0])
        most = min(card.max_sequence, settings.max_sequence or card.max_sequence) - specials
        if settings.chunk_tokens > most:
            raise SettingsError(f"chunk_tokens={settings.chunk_tokens} is more than {card.name} reads of a text: "
                                f"{most} at most")
        if settings.chunk_overlap * 2 > settings.chunk_tokens:
            raise SettingsError(f"chunk_overlap={settings.chunk_overlap} is more than half of chunk_tokens="
                                f"{settings.chunk_tokens}: {settings.chunk_tokens // 2} at most")
        self._limits = Limits(int(settings.max_upload), settings.chunk_tokens, settings.chunk_overlap, most)
        self.embedder = EmbeddingClient(settings.url("embedding"), timeout_s=settings.request_timeout_s)
        self._store = VectorStore(settings.url("vectors"))
        self._ingestor = Ingestor(
            self._store, self.embedder, self._tokenizer, limit_bytes=int(settings.max_upload)
        )
        self._ledger: Ledger | None = None
        self._uploads: Uploads | None = None
        self._worker: Worker | None = None
        self._ready = False
        self.made_by_name = ""

    async def start(self, health: Health) -> None:
        """Waits for its dependencies as long as it takes; `ready` says for which."""
        folder = self.settings.state_dir / "ingest"
        self._ledger = await asyncio.to_thread(Ledger, folder / "ledger.db")
        objects = await asyncio.to_thread(ObjectFolder, folder / "uploads")
        await self._until_up(health, lambda: asyncio.to_thread(self._store.ping))
        made_by = await self._until_up(health, self._ingestor.prove)
        self.made_by_name = made_by.name
        self._uploads = Uploads(self._store, self._ledger, objects, self._limits)
        self._worker = Worker(
            self._ledger, objects, self._ingestor, patience_s=self.settings.request_timeout_s
        )
        self._worker.start()
        self._ready = True

    @staticmethod
    async def _until_up(health: Health, ask: Any) -> Any:
        while True:
            try:
                return await ask()
            except DependencyDown as error:
                health.loading(f"waiting: {error.message}")
            await asyncio.sleep(PAUSE_S)

    async def stop(self) -> None:
        self._ready = False
        if self._worker is not None:
            await self._worker.stop()
        await self.embedder.close()
        await asyncio.to_thread(self._store.close)
        if self._ledger is not None:
            await asyncio.to_thread(self._ledger.close)

    def _check_ready(self) -> None:
        if not self._ready:
            raise NotReady("the ingestor is not ready: GET /v1/health/ready says what it waits for", retry_after_s=2)

    def ready_store(self) -> VectorStore:
        self._check_ready()
        return self._store

    def ready_ledger(self) -> Ledger:
        self._check_ready()
        assert self._ledger is not None
        return self._ledger

    def uploads(self) -> Uploads:
        self._check_ready()
        assert self._uploads is not None
        return self._uploads

    def worker(self) -> Worker:
        self._check_ready()
        assert self._worker is not None
        return self._worker

    async def create_collection(self, name: str, info: Mapping[str, Any]) -> bool:
        """False when it exists; one that another embedder made is refused."""
        store, made_by = self.ready_store(), self._ingestor.made_by
        made = await asyncio.to_thread(
            store.create_collection, name, embedder=made_by.name, dimension=made_by.dimension, info=info
        )
        if not made:
            await asyncio.to_thread(
                store.check_embedder, name, embedder=made_by.name, dimension=made_by.dimension
            )
        return made

    async def drop_collection(self, name: str) -> None:
        """Waiting files of the collection are cancelled."""
        await asyncio.to_thread(self.ready_store().drop, name)
        await asyncio.to_thread(self.ready_ledger().cancel_collection, name)
