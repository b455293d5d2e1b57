"""Works through the ledger, one file after the other, until every file has come to one end."""

from __future__ import annotations

import asyncio
import time

import structlog

from ullage.errors import Cancelled, DependencyDown, DocumentRefused, NotFound, UllageError
from ullage.ingest.pipeline import Ingested, Ingestor, Job, Progress, Report
from ullage.store import FileRecord, Ledger, ObjectFolder, TaskRecord

log = structlog.get_logger("ullage.ingest")

MOST_ATTEMPTS = 5
"""A file over which the process died this often is not tried again."""
LONGEST_PAUSE_S = 5.0


class Worker:
    """`patience_s` is how long a file waits for an embedder or database that is away before it fails."""

    def __init__(self, ledger: Ledger, objects: ObjectFolder, ingestor: Ingestor, *, patience_s: float) -> None:
        self._ledger = ledger
        self._objects = objects
        self._ingestor = ingestor
        self._patience_s = patience_s
        self._work = asyncio.Event()
        self._changed = asyncio.Condition()
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._running = asyncio.create_task(self._drain())

    async def stop(self) -> None:
        """The file in work stays in the ledger and is resumed at the next start."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        async with self._changed:
            self._running = None
            self._changed.notify_all()

    def wake(self) -> None:
        self._work.set()

    async def wait(self, task: str) -> TaskRecord:
        """The task once all its files have come to an end. Raises Cancelled when the worker stops before."""
        async with self._changed:
            while True:
                record = await asyncio.to_thread(self._ledger.task, task)
                if record.state not in ("PENDING", "RUNNING"):
                    return record
                if self._running is None:
                    raise Cancelled(f"the ingestor is stopping; task {task} goes on at the next start")
                await self._changed.wait()

    async def _drain(self) -> None:
        while True:
            self._work.clear()
            file = await asyncio.to_thread(self._ledger.next_open)
            if file is None:
                await self._work.wait()
                continue
            await self._work_on(file)
            async with self._changed:
                self._changed.notify_all()

    async def _work_on(self, file: FileRecord) -> None:
        """Brings the file to its one end."""
        task = await asyncio.to_thread(self._ledger.task, file.task)
        begun = time.monotonic()
        error, done = "", Ingested(0)
        try:
            if file.attempts >= MOST_ATTEMPTS:
                raise DocumentRefused(f"{file.name}: the ingestor died {file.attempts} times over it; convert it to "
                                      "another format or leave it out")
            await asyncio.to_thread(self._ledger.begin, file.number)
            done = await self._patiently(file, task)
        except UllageError as refusal:
            error = refusal.message
        except Exception as bug:
            log.error("unexpected error", file=file.name, exc_info=bug)
            error = f"{file.name}: internal error ({type(bug).__name__}); the ingestor's log has it"
        if await self._collection_gone(file, task):
            return
        await asyncio.to_thread(self._ledger.finish, file.number, error=error, warnings=done.warnings)
        await self._forget(file)
        log.info(
            "file ingested" if not error else "file failed",
            file=file.name,
            collection=task.collection,
            chunks=done.chunks,
            linked=done.linked,
            reason=error,
            seconds=round(time.monotonic() - begun, 2),
        )

    async def _collection_gone(self, file: FileRecord, task: TaskRecord) -> bool:
        """Whether the file was cancelled while it was in work; then only its bytes are left to remove."""
        now = await asyncio.to_thread(self._ledger.task, task.id)
        cancelled = any(other.number == file.number and other.state == "CANCELLED" for other in now.files)
        if cancelled:
            await self._forget(file)
        return cancelled

    async def _forget(self, file: FileRecord) -> None:
        if await asyncio.to_thread(self._ledger.uses, file.sha256) == 0:
            await asyncio.to_thread(self._objects.remove, file.sha256)

    async def _patiently(self, file: FileRecord, task: TaskRecord) -> Ingested:
        """Again and again while a dependency is away; the file is not to blame for that."""
        deadline = time.monotonic() + self._patience_s
        pause_s = 0.5
        while True:
            try:
                return await self._ingestor.ingest(_job(file, task, self._objects), self._reporter(file))
            except DependencyDown as error:
                if time.monotonic() + pause_s > deadline:
                    raise
                log.warning("waiting for a dependency", file=file.name, reason=error.message)
            except NotFound as error:
                raise DocumentRefused(f"{file.name}: {error.message}") from None
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    def _reporter(self, file: FileRecord) -> Report:
        async def report(progress: Progress) -> None:
            await asyncio.to_thread(
                self._ledger.progress, file.number, pages=progress.pages, chunks=progress.chunks
            )

        return report


def _job(file: FileRecord, task: TaskRecord, objects: ObjectFolder) -> Job:
    options = task.options
    return Job(
        path=objects.path(file.sha256),
        name=file.name,
        content_hash=file.sha256,
        collection=task.collection,
        chunk_tokens=int(options["chunk_tokens"]),
        chunk_overlap=int(options["chunk_overlap"]),
        metadata=options.get("metadata", {}).get(file.name, {}),
        info=options.get("info", {}).get(file.name, {}),
    )
