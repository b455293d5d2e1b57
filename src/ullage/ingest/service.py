"""What the ingestor holds while it runs: opened at start, closed at stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ullage.clients.embedding import EmbeddingClient
from ullage.clients.llm import LlmClient
from ullage.errors import DependencyDown, NotReady, SettingsError
from ullage.http import Health
from ullage.ingest.alone import Alone
from ullage.ingest.kept import Kept
from ullage.ingest.pipeline import Ingestor, Senses
from ullage.ingest.readers_at_once import BoundedSandbox
from ullage.ingest.sandbox import ReadLimits, Sandbox
from ullage.ingest.summaries import Summariser
from ullage.ingest.transcribe import Hear
from ullage.ingest.uploads import Limits, Uploads
from ullage.ingest.vision import VisionLook
from ullage.ingest.worker import Worker
from ullage.models.files import locate
from ullage.models.resolve import resolve
from ullage.models.tokenize import Tokenizer
from ullage.settings import Settings
from ullage.store import Ledger, MetadataField, ObjectFolder, PageFolder, SummaryLedger, VectorStore
from ullage.store.bucket import Bucket
from ullage.store.database import Place, Shared, WriterChanged
from ullage.store.places import summary_place, task_place

PAUSE_S = 0.5
WATCH_S = 2.0
"""So often a shared ledger is asked whether it is there."""

THREADS = 64
"""Most wait for the database or the disk. asyncio's own number, six on two cores, let uploads wait for ingestion."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Opened:
    """What there is from the moment the ingestor is ready."""

    ledger: Ledger
    kept: Kept
    uploads: Uploads
    worker: Worker
    summariser: Summariser


class IngestService:
    """A lifecycle: ready once the database answers and the embedder has embedded a text.

    Raises SettingsError, ModelNotFound or ModelCorrupt at once when it could never work.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        card = resolve(settings.embedding_model, "embedding")
        tokenizer = Tokenizer(locate(card, settings.cache_dir)["tokenizer"])
        most = min(card.max_sequence, settings.max_sequence or card.max_sequence) - len(tokenizer.encode([""])[0])
        self._limits = _limits(settings, most, card.name)
        self.embedder = EmbeddingClient(settings.url("embedding"), timeout_s=settings.request_timeout_s)
        self.llm = LlmClient(settings.summary_llm_url or settings.url("llm"),
                             settings.summary_llm_model or settings.llm_model, settings.request_timeout_s)
        self._store = VectorStore(settings.url("vectors"))
        self._sandbox = BoundedSandbox(
            ReadLimits(int(settings.reader_memory), settings.reader_timeout_s, int(settings.max_upload))
        )
        self._hear = Hear.of(settings)
        self._folder = settings.state_dir / "ingest"
        self._alone = Alone(self._folder)
        self._places = (task_place(settings), summary_place(settings))
        self._objects_at = settings.objects_uri.rstrip("/") or str(self._folder)
        self._pages = PageFolder(f"{self._objects_at}/pages")
        self._look = VisionLook.of(settings)
        senses = Senses(self._sandbox, self._look, self._hear, self._pages, settings.thumbnail_pixels)
        self._ingestor = Ingestor(self._store, self.embedder, tokenizer, senses)
        self._ledgers: tuple[Ledger, SummaryLedger] | None = None
        self._opened: Opened | None = None
        self._watching: asyncio.Task[None] | None = None
        self._ready = False
        self.made_by_name = ""
        self.on_lost: Callable[[DependencyDown], None] | None = None

    @property
    def objects_at(self) -> str:
        return self._objects_at

    @property
    def shared_ledger(self) -> str:
        """The address of the ledgers' database, as it may be shown; empty where they are files in the state folder."""
        place = self._places[0]
        return str(place.url) if isinstance(place, Shared) else ""

    async def start(self, health: Health) -> None:
        """Waits for its dependencies as long as it takes; `ready` says for which."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "ingest"))
        await self._until_up(health, lambda: asyncio.to_thread(self._alone.take))
        ledgers = await self._until_up(health, lambda: asyncio.to_thread(_open_ledgers, *self._places))
        self._ledgers = ledgers
        objects = await self._until_up(health, lambda: asyncio.to_thread(self._open_objects))
        await self._until_up(health, lambda: asyncio.to_thread(self._store.ping))
        self.made_by_name = (await self._until_up(health, self._ingestor.prove)).name
        kept = Kept(self._store, ledgers[0], objects, self._pages, originals=self.settings.keep_uploads)
        await self._until_up(health, lambda: asyncio.to_thread(kept.sweep))
        patience_s = self.settings.request_timeout_s
        summariser = Summariser(ledgers[1], self._store, self.llm, patience_s=patience_s)
        worker = Worker(ledgers[0], kept, self._ingestor, patience_s=patience_s)
        worker.on_ingested = summariser.ask
        uploads = Uploads(self._store, ledgers[0], kept, self._limits)
        self._opened = Opened(ledgers[0], kept, uploads, worker, summariser)
        worker.start()
        summariser.start()
        if self.shared_ledger:
            self._watching = asyncio.create_task(self._watch(ledgers, health))
        self._ready = True

    async def _watch(self, ledgers: tuple[Ledger, SummaryLedger], health: Health) -> None:
        """Not ready while the ledgers' database is away. Lost to another process, this one ends: what it remembers of
        its work may not hold any more."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                for ledger in ledgers:
                    await asyncio.to_thread(ledger.ping)
                health.resume()
            except WriterChanged as lost:
                health.failed(lost.message)
                if self.on_lost is not None:
                    self.on_lost(lost)
                return
            except DependencyDown as error:
                health.pause(f"waiting: {error.message}")

    def _open_objects(self) -> ObjectFolder:
        where = f"{self._objects_at}/uploads"
        return ObjectFolder(where, None if Bucket(where).local else self._folder / "scratch")

    @staticmethod
    async def _until_up(health: Health, ask: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await ask()
            except WriterChanged:
                raise
            except DependencyDown as error:
                health.loading(f"waiting: {error.message}")
            await asyncio.sleep(PAUSE_S)

    async def stop(self) -> None:
        self._ready = False
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._opened is not None:
            await self._opened.worker.stop()
            await self._opened.summariser.stop()
        await self._sandbox.close()
        for sense in (self._look, self._hear):
            if sense is not None:
                await sense.close()
        await self.embedder.close()
        await self.llm.close()
        await asyncio.to_thread(self._store.close)
        for ledger in self._ledgers or ():
            await asyncio.to_thread(ledger.close)
        self._alone.give_back()

    @property
    def sandbox(self) -> Sandbox:
        return self._sandbox

    @property
    def pages(self) -> PageFolder:
        """Thumbnails."""
        return self._pages

    def opened(self) -> Opened:
        if not self._ready or self._opened is None:
            raise NotReady("the ingestor is not ready: GET /v1/health/ready says what it waits for", retry_after_s=2)
        return self._opened

    def ready_store(self) -> VectorStore:
        self.opened()
        return self._store

    async def create_collection(
        self, name: str, info: Mapping[str, Any], schema: Sequence[MetadataField] = ()
    ) -> bool:
        """False when it exists; one that another embedder made is refused."""
        store, made_by = self.ready_store(), self._ingestor.made_by
        made = await asyncio.to_thread(store.create_collection, name, embedder=made_by.name,
                                       dimension=made_by.dimension, info=info, schema=schema)
        if not made:
            await asyncio.to_thread(store.check_embedder, name, embedder=made_by.name, dimension=made_by.dimension)
        return made

    async def drop_collection(self, name: str) -> None:
        """Its waiting files are cancelled. Raises NotFound."""
        opened, store = self.opened(), self.ready_store()
        if await asyncio.to_thread(store.has, name):
            await opened.worker.cancel_collection(name)
        await asyncio.to_thread(store.drop, name)
        await opened.summariser.forget(name)
        await asyncio.to_thread(opened.kept.sweep)


def _open_ledgers(tasks: Place, summaries: Place) -> tuple[Ledger, SummaryLedger]:
    """Both or none. Raises DependencyDown for a database that is away, or that another process writes to."""
    ledger = Ledger(tasks)
    try:
        return ledger, SummaryLedger(summaries)
    except BaseException:
        ledger.close()
        raise


def _limits(settings: Settings, most: int, embedder: str) -> Limits:
    """Raises SettingsError for chunks that the embedder would cut off unread."""
    if settings.chunk_tokens > most:
        raise SettingsError(f"chunk_tokens={settings.chunk_tokens} is more than {embedder} reads of a text: "
                            f"{most} at most")
    if settings.chunk_overlap * 2 > settings.chunk_tokens:
        raise SettingsError(f"chunk_overlap={settings.chunk_overlap} is more than half of chunk_tokens="
                            f"{settings.chunk_tokens}: {settings.chunk_tokens // 2} at most")
    return Limits(
        upload_bytes=int(settings.max_upload),
        chunk_tokens=settings.chunk_tokens,
        chunk_overlap=settings.chunk_overlap,
        chunk_tokens_most=most,
        queue_files=settings.ingest_queue_files,
        queue_bytes=int(settings.ingest_queue),
        strict=settings.strict_compatibility,
    )
