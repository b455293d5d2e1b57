"""An ingestion task as the ingestor tells it, file by file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LOST = ("FAILED", "CANCELLED")


@dataclass(frozen=True, slots=True)
class FileProgress:
    """`reason` says why a file failed."""

    document: str
    state: str
    pages_done: int = 0
    pages: int = 0
    chunks_done: int = 0
    chunks: int = 0
    reason: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        return self.state in LOST

    @property
    def step(self) -> tuple[str, int, int]:
        """What is being done, how much of it is done, and how much there is (0: not known yet)."""
        if self.chunks:
            return "embedding", self.chunks_done, self.chunks
        return ("reading", self.pages_done, self.pages) if self.state == "RUNNING" else ("waiting", 0, 0)

    def lines(self) -> list[str]:
        """What became of it, for people."""
        if self.failed and "already exists" in self.reason:
            return [f"{self.document}: is already there; --update replaces it"]
        if self.failed:
            return [f"{self.document}: refused: {self.reason.removeprefix(f'{self.document}: ')}"]
        said = f"{self.document}: {_count(self.chunks, 'chunk')}, {_count(self.pages, 'page')}"
        return [said, *(f"{self.document}: note: {w.removeprefix(f'{self.document}: ')}" for w in self.warnings)]


@dataclass(frozen=True, slots=True)
class TaskProgress:
    """`over` once every file has come to an end."""

    over: bool
    files: tuple[FileProgress, ...] = ()


def task_progress(body: dict[str, Any]) -> TaskProgress:
    """From the body of `GET /status`; files come in the order they were sent."""
    files = body["nv_ingest_status"]["document_wise_status"]
    return TaskProgress(body["state"] != "PENDING", tuple(_file(name, said) for name, said in files.items()))


def merged(parts: Sequence[TaskProgress]) -> TaskProgress:
    return TaskProgress(all(part.over for part in parts), tuple(file for part in parts for file in part.files))


def _file(name: str, said: dict[str, Any]) -> FileProgress:
    return FileProgress(
        document=name, state=said["state"], pages_done=said["pages_done"], pages=said["pages_total"],
        chunks_done=said["chunks_done"], chunks=said["chunks_total"], reason=said["error"],
        warnings=tuple(said["warnings"]),
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
