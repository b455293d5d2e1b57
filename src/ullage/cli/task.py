"""`ullage task`: ingestion tasks as the ingestor tells them, file by file; cancel them, try lost files again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, out, print_json, table
from ullage.cli.remote import Remote
from ullage.errors import OUTCOMES, DocumentRefused, NotFound
from ullage.settings import Settings

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


app = typer.Typer(help="Ingestion tasks: list, look, cancel, try again.", rich_markup_mode=None, no_args_is_help=True)
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]
Id = Annotated[str, typer.Argument(help="an id of `ullage task list`")]
Document = Annotated[str | None, typer.Option("--document", help="only this file of the task")]


def ingest_server(settings: Settings) -> Remote:
    from ullage.stack.doors import take_keys

    take_keys(settings)
    return Remote("ingest", settings.url("ingest"), timeout_s=settings.request_timeout_s)


def _server(context: typer.Context) -> Remote:
    return ingest_server(invocation(context).load().settings)


@app.command("list")
def list_(
    context: typer.Context, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20, as_json: AsJson = False
) -> None:
    """The newest tasks, each with its files by state."""
    with _server(context) as server:
        tasks = server.get("/v1/tasks", limit=str(limit))["tasks"]
    if as_json:
        print_json(tasks)
        return
    shown = table("task", "collection", "state", "begun", "files")
    for task in tasks:
        files = ", ".join(f"{number} {state}" for state, number in task["files"].items())
        shown.add_row(task["task_id"], task["collection_name"], task["state"], task["date_created"], files)
    out().print(shown)


@app.command()
def show(context: typer.Context, task: Id, as_json: AsJson = False) -> None:
    """Every file of a task: where it is, or what became of it."""
    with _server(context) as server:
        body = server.get("/v1/status", task_id=task)
    if body["state"] == "UNKNOWN":
        raise NotFound(f"the ingestor does not know task {task}: `ullage task list` shows those it knows")
    if as_json:
        print_json(body)
        return
    for file in task_progress(body).files:
        step, done, total = file.step
        over = file.failed or file.state == "FINISHED"
        for line in file.lines() if over else [f"{file.document}: {step} {done} of {total or '?'}"]:
            out().print(line, markup=False)


@app.command()
def cancel(context: typer.Context, task: Id, document: Document = None, as_json: AsJson = False) -> None:
    """Stop a task: what is not finished is not ingested, and nothing half done is left."""
    with _server(context) as server:
        body = server.send("POST", _path(task, "cancel", document), None)
    print_json(body) if as_json else out().print(body["message"], markup=False)


@app.command()
def retry(context: typer.Context, task: Id, document: Document = None, as_json: AsJson = False) -> None:
    """Ingest the failed and cancelled files of a task again. Exit code 5: one of them is not kept any more."""
    with _server(context) as server:
        body = server.send("POST", _path(task, "retry", document), None)
    if as_json:
        print_json(body)
    else:
        out().print(body["message"], markup=False)
        for file in body["failed_documents"]:
            out().print(file["error_message"], markup=False)
    if body["failed_documents"]:
        raise typer.Exit(OUTCOMES[DocumentRefused].exit_code)


def _path(task: str, what: str, document: str | None) -> str:
    query = f"?{urlencode({'document_name': document})}" if document is not None else ""
    return f"/v1/tasks/{quote(task, safe='')}/{what}{query}"
