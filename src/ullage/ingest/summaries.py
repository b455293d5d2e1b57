"""Makes the summaries that were asked for, one after the other, beside the ingestion."""

from __future__ import annotations

import asyncio
import time

import structlog

from ullage.clients.llm import LlmClient
from ullage.errors import DeadlineExceeded, DependencyDown, NotFound, UllageError, Unavailable
from ullage.ingest.summarise import Made, chosen, summarise
from ullage.store import FileRecord, Summary, SummaryLedger, TaskRecord, VectorStore

log = structlog.get_logger("ullage.ingest")

LONGEST_PAUSE_S = 5.0


class Summariser:
    """`patience_s` is how long a summary waits for an LLM or a database that is away before it fails."""

    def __init__(self, ledger: SummaryLedger, store: VectorStore, llm: LlmClient, *, patience_s: float) -> None:
        self._ledger = ledger
        self._store = store
        self._llm = llm
        self._patience_s = patience_s
        self._work = asyncio.Event()
        self._changed = asyncio.Condition()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._drain())

    async def stop(self) -> None:
        """The one in work is made again at the next start."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        async with self._changed:
            self._running = None
            self._changed.notify_all()

    async def ask(self, file: FileRecord, task: TaskRecord) -> None:
        """For the file's document, if its uploader wanted one."""
        if "summary" in file.wish:
            await asyncio.to_thread(self._ledger.ask, task.collection, file.name, file.wish["summary"])
            self._work.set()

    async def find(self, collection: str, document: str, *, wait_s: float = 0.0) -> Summary | None:
        """None: nobody asked for one. With `wait_s` once it is over, or as it is then."""
        deadline = time.monotonic() + wait_s
        while True:
            found = await asyncio.to_thread(self._ledger.find, collection, document)
            left = deadline - time.monotonic()
            if found is None or found.over or left <= 0 or self._running is None:
                return found
            try:
                async with asyncio.timeout(left), self._changed:
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def forget(self, collection: str, document: str | None = None) -> None:
        await asyncio.to_thread(self._ledger.forget, collection, document)

    async def _drain(self) -> None:
        while True:
            self._work.clear()
            try:
                if not await self._make_next():
                    await self._work.wait()
            except DependencyDown as away:
                log.warning("waiting for the ledger", reason=away.message)
                await asyncio.sleep(LONGEST_PAUSE_S)

    async def _make_next(self) -> bool:
        """False when there is none to make. Raises DependencyDown when the ledger is away: it is still there then."""
        summary = await asyncio.to_thread(self._ledger.next_open)
        if summary is None:
            return False
        await self._make(summary)
        async with self._changed:
            self._changed.notify_all()
        return True

    async def _make(self, summary: Summary) -> None:
        begun = time.monotonic()
        error, text, note = "", "", ""
        try:
            made = await self._patiently(summary)
            text, note = made.text, made.note
        except UllageError as refusal:
            error = refusal.message
        except Exception as bug:
            log.error("unexpected error", file=summary.document, exc_info=bug)
            error = f"internal error ({type(bug).__name__}); the ingestor's log has it"
        await asyncio.to_thread(self._ledger.finish, summary, text=text, error=error, message=note)
        log.info("summary failed" if error else "summary made", file=summary.document, collection=summary.collection,
                 reason=error, seconds=round(time.monotonic() - begun, 2))

    async def _patiently(self, summary: Summary) -> Made:
        deadline = time.monotonic() + self._patience_s
        pause_s = 0.5
        while True:
            try:
                return await self._summarise(summary)
            except (Unavailable, DeadlineExceeded) as error:
                if time.monotonic() + pause_s > deadline:
                    raise
                await self._tell(summary, 0, 0, f"waiting: {error.message}")
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _summarise(self, summary: Summary) -> Made:
        chunks, _ = await asyncio.to_thread(self._store.chunks, summary.collection, summary.document)
        if not chunks:
            raise NotFound(f"document {summary.document} is not in collection {summary.collection} any more")
        pages = int(chunks[0].metadata.get("document", {}).get("pages", 1))

        async def told(done: int, total: int, message: str) -> None:
            await self._tell(summary, done, total, message)

        texts = chosen(chunks, summary.options, pages)
        return await summarise(self._llm, texts, summary.options.get("summarization_strategy"), told)

    async def _tell(self, summary: Summary, done: int, total: int, message: str) -> None:
        try:
            await asyncio.to_thread(self._ledger.progress, summary, done, total, message)
        except DependencyDown as away:  # the work goes on: its end has to be written down, not each step
            log.debug("progress not written down", file=summary.document, reason=away.message)
