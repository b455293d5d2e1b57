"""Works through the ledger, some files at once, until every file has come to one end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import structlog

from ullage.errors import Cancelled, DependencyDown, DocumentRefused, NotFound, UllageError
from ullage.ingest.kept import Kept
from ullage.ingest.pipeline import Ingested, Ingestor, Job, Progress, Report
from ullage.ingest.readers_at_once import ReaderKilled
from ullage.store import FileRecord, Ledger, TaskRecord

log = structlog.get_logger("ullage.ingest")

MOST_ATTEMPTS = 5
"""A file over which the process died this often is not tried again."""

SUSPECT_ATTEMPTS = 2
"""From here on it is worked on alone, so that others are not blamed for it, nor it for others."""

MOST_KILLS = 2
"""So often a file is read again whose reader was killed: by the kernel for its memory, or by somebody."""

FILES_AT_ONCE = 16
LOOK_AHEAD = 64
LONGEST_PAUSE_S = 5.0
PAUSE_AFTER_BUG_S = 1.0
OnIngested = Callable[[FileRecord, TaskRecord], Awaitable[None]]


class Worker:
    """`patience_s` is how long a file waits for an embedder or database that is away before it fails."""

    def __init__(self, ledger: Ledger, kept: Kept, ingestor: Ingestor, *, patience_s: float) -> None:
        self._ledger = ledger
        self._bytes = kept
        self._ingestor = ingestor
        self._patience_s = patience_s
        self._work = asyncio.Event()
        self._changed = asyncio.Condition()
        self._draining: asyncio.Task[None] | None = None
        self._running: dict[int, asyncio.Task[None]] = {}
        self._files: dict[int, tuple[FileRecord, str]] = {}
        self._kept: set[int] = set()
        self._replaced: dict[int, set[str]] = {}
        self._stopping = False
        self.on_ingested: OnIngested | None = None

    def start(self) -> None:
        self._draining = asyncio.create_task(self._drain())

    async def stop(self) -> None:
        """Files in work stay in the ledger and are resumed at the next start."""
        self._stopping = True
        tasks = [task for task in (self._draining, *self._running.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._changed:
            self._changed.notify_all()

    def wake(self) -> None:
        self._work.set()

    @property
    def in_work(self) -> int:
        return len(self._running)

    async def wait(self, task: str) -> TaskRecord:
        """The task once all its files have come to an end. Raises Cancelled when the worker stops before."""
        async with self._changed:
            while True:
                record = await asyncio.to_thread(self._ledger.heading, task)
                if record.state not in ("PENDING", "RUNNING"):
                    return await asyncio.to_thread(self._ledger.task, task)
                if self._stopping:
                    raise Cancelled(f"the ingestor is stopping; task {task} goes on at the next start")
                await self._changed.wait()

    async def cancel(self, task: str, name: str | None = None) -> list[FileRecord]:
        """Files that will not be ingested any more: those of a task, or one of them. Raises NotFound.

        The ledger says so when this returns; what was in work is stopped and removed right after.
        """
        return await self._stopped(await asyncio.to_thread(self._ledger.cancel, task, name))

    async def cancel_collection(self, collection: str) -> None:
        files = await asyncio.to_thread(self._ledger.open_files, collection)
        await asyncio.to_thread(self._ledger.cancel_collection, collection)
        await self._stopped(files)

    async def _stopped(self, files: Sequence[FileRecord]) -> list[FileRecord]:
        for file in files:
            if running := self._running.get(file.number):
                running.cancel()
            elif file.left:
                await self._clean(file, (await asyncio.to_thread(self._ledger.heading, file.task)).collection)
        async with self._changed:
            self._changed.notify_all()
        self.wake()
        return list(files)

    async def _drain(self) -> None:
        await self._surely(self._clean_up)
        while True:
            self._work.clear()
            await self._surely(self._start_some)
            await self._work.wait()

    async def _surely(self, step: Callable[[], Awaitable[None]]) -> None:
        """Nothing unforeseen, a full disk for one, may end the ingestion of everything."""
        try:
            await step()
        except DependencyDown as away:
            log.warning("waiting for the ledger", reason=away.message)
        except Exception as bug:
            log.error("unexpected error, going on", exc_info=bug)
        else:
            return
        await asyncio.sleep(PAUSE_AFTER_BUG_S)
        self._work.set()

    async def _start_some(self) -> None:
        for file, task in await self._startable():
            self._files[file.number] = (file, task.collection)
            running = asyncio.create_task(self._work_on(file, task))
            self._running[file.number] = running
            running.add_done_callback(partial(self._ended, file.number))

    def _ended(self, number: int, _: asyncio.Task[None]) -> None:
        self._running.pop(number, None)
        self._files.pop(number, None)
        self._kept.discard(number)
        self._replaced.pop(number, None)
        self._work.set()

    async def _startable(self) -> list[tuple[FileRecord, TaskRecord]]:
        """The next files, as many as there is room for. None shares its name or its bytes with another in work."""
        room = FILES_AT_ONCE - len(self._running)
        if room <= 0 or any(_suspect(file) for file, _ in self._files.values()):
            return []
        taken = {key for file, collection in self._files.values() for key in _keys(file, collection)}
        chosen: list[tuple[FileRecord, TaskRecord]] = []
        for file, task in await asyncio.to_thread(self._ledger.waiting, LOOK_AHEAD):
            if file.number in self._running:
                continue
            if _suspect(file):
                return chosen if self._running or chosen else [(file, task)]
            keys = _keys(file, task.collection)
            if not keys & taken:
                taken |= keys
                chosen.append((file, task))
            if len(chosen) == room:
                break
        return chosen

    async def _work_on(self, file: FileRecord, task: TaskRecord) -> None:
        try:
            if file.attempts >= MOST_ATTEMPTS or await asyncio.to_thread(self._ledger.begin, file.number):
                await self._bring_to_end(file, task)
        except asyncio.CancelledError:
            await self._interrupted(file, task)
        except DependencyDown as away:
            log.warning("waiting for the ledger", file=file.name, reason=away.message)
            await self._uncounted(file)
        except Exception as bug:
            # The ledger itself did not take it: the file is still open there, and will be begun again.
            log.error("unexpected error, trying again", file=file.name, exc_info=bug)
            await asyncio.sleep(PAUSE_AFTER_BUG_S)
        async with self._changed:
            self._changed.notify_all()

    async def _uncounted(self, file: FileRecord) -> None:
        """An attempt that the ledger's own absence broke off does not count, whether its beginning is in there or not.
        """
        while True:
            await asyncio.sleep(PAUSE_AFTER_BUG_S)
            try:
                if (await asyncio.to_thread(self._ledger.file, file.number)).attempts > file.attempts:
                    await asyncio.to_thread(self._ledger.put_back, file.number)
            except DependencyDown:
                continue
            return

    async def _bring_to_end(self, file: FileRecord, task: TaskRecord) -> None:
        begun = time.monotonic()
        error, done = "", Ingested(0)
        try:
            if file.attempts >= MOST_ATTEMPTS:
                raise DocumentRefused(f"{file.name}: the ingestor died {file.attempts} times over it; convert it to "
                                      "another format or leave it out")
            done = await self._patiently(file, task)
        except UllageError as refusal:
            error = refusal.message
        except Exception as bug:
            log.error("unexpected error", file=file.name, exc_info=bug)
            error = f"{file.name}: internal error ({type(bug).__name__}); the ingestor's log has it"
        if not error and self.on_ingested is not None:
            await self.on_ingested(file, task)
        counted = await asyncio.to_thread(self._ledger.finish, file.number, error=error, warnings=done.warnings)
        if error or not counted:
            await self._clean(file, task.collection)
        if error or not counted or not self._bytes.originals:
            await self._forget(file.sha256)
        await self._forget(*self._replaced.get(file.number, ()))
        log.info(
            "file cancelled" if not counted else "file failed" if error else "file ingested",
            file=file.name,
            collection=task.collection,
            chunks=done.chunks,
            linked=done.linked,
            reason=error,
            seconds=round(time.monotonic() - begun, 2),
        )

    async def _interrupted(self, file: FileRecord, task: TaskRecord) -> None:
        """Stopped on purpose: put back when the process ends, else cancelled, and nothing of it is left."""
        await asyncio.to_thread(self._ledger.put_back, file.number)
        now = await asyncio.to_thread(self._ledger.file, file.number)
        if now.state == "CANCELLED":
            await self._clean(file, task.collection, writing=True)
            log.info("file cancelled", file=file.name, collection=task.collection)
        elif now.state == "FINISHED" and not self._bytes.originals:
            await self._forget(file.sha256)

    async def _clean(self, file: FileRecord, collection: str, *, writing: bool = False) -> None:
        """Remove what was written of a lost file. When the database is away the ledger remembers it.

        `writing`: a thread may still be about to write some of it.
        """
        if file.number in self._kept:
            await asyncio.to_thread(self._ledger.cleaned, file.number)
            return
        try:
            await asyncio.to_thread(self._ingestor.store.withdraw, collection, file.name, file.sha256)
            if not writing:
                await asyncio.to_thread(self._ingestor.store.admit, collection, file.name, file.sha256)
        except NotFound:
            log.debug("its collection is gone", file=file.name, collection=collection)
        except UllageError as error:
            log.warning("not cleaned up yet", file=file.name, collection=collection, reason=error.message)
            return
        await asyncio.to_thread(self._ledger.cleaned, file.number)

    async def _clean_up(self) -> None:
        """What earlier runs left of lost files, and bytes that nobody needs any more."""
        for collection, file in await asyncio.to_thread(self._ledger.left_behind):
            await self._clean(file, collection)
        try:
            await asyncio.to_thread(self._bytes.sweep)
        except UllageError as error:
            log.warning("uploads not swept", reason=error.message)

    async def _forget(self, *hashes: str) -> None:
        try:
            for sha256 in hashes:
                await asyncio.to_thread(self._bytes.forget, sha256)
        except UllageError as error:
            log.warning("bytes not removed yet", reason=error.message)

    async def _patiently(self, file: FileRecord, task: TaskRecord) -> Ingested:
        """Again and again while a dependency is away, and MOST_KILLS times when its reader was killed: the file may
        not be to blame for that."""
        deadline = time.monotonic() + self._patience_s
        pause_s, killed = 0.5, 0
        while True:
            try:
                return await self._ingest(file, task)
            except DependencyDown as error:
                if time.monotonic() + pause_s > deadline:
                    raise
                log.warning("waiting for a dependency", file=file.name, reason=error.message)
            except ReaderKilled as error:
                killed += 1
                if killed > MOST_KILLS:
                    raise
                log.warning("reading it again", file=file.name, reason=error.message)
            except NotFound as error:
                raise DocumentRefused(f"{file.name}: {error.message}") from None
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _ingest(self, file: FileRecord, task: TaskRecord) -> Ingested:
        store = self._ingestor.store
        await asyncio.to_thread(store.admit, task.collection, file.name, file.sha256)
        if task.options.get("update"):
            await self._make_room(file, task)
        opened = self._bytes.uploads.as_file(file.sha256)
        path = await asyncio.to_thread(opened.__enter__)
        try:
            return await self._ingestor.ingest(_job(file, task, path), self._reporter(file))
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)

    async def _make_room(self, file: FileRecord, task: TaskRecord) -> None:
        """The same bytes cut otherwise would leave passages of the old cut beside the new.

        Cut alike the document stays as it is, even when this file should fail.
        """
        store = self._ingestor.store
        for known in await asyncio.to_thread(store.documents, task.collection, [file.name]):
            cut = (known.info.get("chunk_tokens"), known.info.get("chunk_overlap"))
            wanted = (task.options["chunk_tokens"], task.options["chunk_overlap"])
            if known.content_hash != file.sha256:
                self._replaced.setdefault(file.number, set()).add(known.content_hash)
            elif cut == wanted:
                self._kept.add(file.number)
            else:
                await asyncio.to_thread(store.delete_document, task.collection, file.name)

    def _reporter(self, file: FileRecord) -> Report:
        async def report(progress: Progress) -> None:
            try:
                await asyncio.to_thread(
                    self._ledger.progress, file.number, pages=progress.pages, chunks=progress.chunks
                )
            except DependencyDown as away:  # the work goes on: its end has to be written down, not each step
                log.debug("progress not written down", file=file.name, reason=away.message)

        return report


def _suspect(file: FileRecord) -> bool:
    return file.attempts >= SUSPECT_ATTEMPTS


def _keys(file: FileRecord, collection: str) -> set[tuple[str, str]]:
    """What no two files in work may share: they would overwrite each other, or be embedded twice."""
    return {(collection, f"name {file.name}"), (collection, f"bytes {file.sha256}")}


def _job(file: FileRecord, task: TaskRecord, path: Path) -> Job:
    return Job(
        path=path,
        name=file.name,
        content_hash=file.sha256,
        collection=task.collection,
        chunk_tokens=int(task.options["chunk_tokens"]),
        chunk_overlap=int(task.options["chunk_overlap"]),
        metadata=file.wish.get("metadata", {}),
        info=file.wish.get("info", {}),
    )
