"""Trying lost files again, from the bytes that were kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from ullage.errors import NotFound
from ullage.ingest.service import Opened
from ullage.ingest.uploads import already_there
from ullage.store import FileRecord


@dataclass(frozen=True, slots=True)
class Retried:
    """`refused`: names with the reason why they cannot be tried again."""

    names: tuple[str, ...]
    refused: tuple[tuple[str, str], ...] = ()


async def retry(opened: Opened, task_id: str, name: str | None = None) -> Retried:
    """The failed and cancelled files of a task, or one of them, wait again. Raises NotFound."""
    task = await asyncio.to_thread(opened.ledger.task, task_id)
    files = [file for file in task.files if name in (None, file.name)]
    if name is not None and not files:
        raise NotFound(f"task {task_id} has no file {name[:80]!r}: GET /status lists them")
    lost = [file for file in files if file.state in ("FAILED", "CANCELLED")]
    taken = set() if task.options.get("update") else await opened.uploads.taken_names(task.collection, lost)
    refused: list[tuple[str, str]] = []
    again: list[FileRecord] = []
    for file in lost:
        if file.name in taken:
            refused.append((file.name, already_there(file.name)))
        elif not file.sha256 or not await asyncio.to_thread(opened.kept.uploads.has, file.sha256):
            refused.append((file.name, f"{file.name} is not kept any more: upload it again"))
        else:
            again.append(file)
    await asyncio.to_thread(opened.ledger.retry, [file.number for file in again])
    opened.worker.wake()
    return Retried(tuple(file.name for file in again), tuple(refused))
