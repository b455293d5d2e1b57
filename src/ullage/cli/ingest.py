"""`ullage ingest`: upload files and follow them until they are searchable."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, err, out, print_json
from ullage.cli.remote import Remote
from ullage.cli.task import FileProgress, TaskProgress, merged, task_progress
from ullage.cli.task import ingest_server as ingest_server
from ullage.errors import OUTCOMES, DocumentRefused, InvalidRequest, NotFound, Overloaded
from ullage.settings import Settings

POLL_S = 0.2
FILES_AT_ONCE = 100

Hear = Callable[[TaskProgress], None]


def ingest(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="files and folders")],
    collection: Annotated[str | None, typer.Option(help="collection to fill")] = None,
    update: Annotated[bool, typer.Option("--update", help="replace documents that are already there")] = False,
    ray: Annotated[str | None, typer.Option(
        "--ray", metavar="ADDRESS", help="over a Ray cluster, or `local`: run it again and it goes on")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Upload files and wait until they are searchable. Exit code 5: at least one was refused.

    With --ray nothing is uploaded: every node reads the folder itself.
    """
    chosen = expand(files)
    settings = invocation(context).load(collection=collection).settings
    if ray is not None:
        from ullage.cli.ingest_ray import ingest_on_ray

        ingest_on_ray(ray, settings, chosen, update=update, as_json=as_json)
        return
    with ingest_server(settings) as server:
        done = (ingest_files if as_json else ingest_with_bars)(server, settings, chosen, update=update)
    if as_json:
        print_json({"collection": settings.collection, "files": [asdict(file) for file in done.files]})
    else:
        for file in done.files:
            for line in file.lines():
                out().print(line, markup=False)
    if any(file.failed for file in done.files):
        raise typer.Exit(OUTCOMES[DocumentRefused].exit_code)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Files as given, folders as the supported files below them. Raises InvalidRequest with every fault."""
    from ullage.ingest.readers import SUPPORTED

    faults: list[str] = []
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower().lstrip(".") in SUPPORTED)
            found += inside
            if not inside:
                faults.append(f"{path} holds no file of a supported type ({', '.join(SUPPORTED)})")
        elif path.is_file():
            found.append(path)
        else:
            faults.append(f"{path} does not exist")
    found = list(dict.fromkeys(found))
    counted = Counter(path.name for path in found)
    faults += [f"{n} files are called {name}, and documents are known by name" for name, n in counted.items() if n > 1]
    if faults:
        raise InvalidRequest("; ".join(faults) + "; nothing was sent")
    return found


def batches(files: Sequence[Path], limit_bytes: int) -> Iterator[list[Path]]:
    """Files in groups that one request may carry; a file over the limit goes alone, to be refused by the server."""
    group: list[Path] = []
    size = 0
    for file in files:
        own = file.stat().st_size
        if group and (size + own > limit_bytes or len(group) == FILES_AT_ONCE):
            yield group
            group, size = [], 0
        group.append(file)
        size += own
    if group:
        yield group


def ingest_files(
    server: Remote, settings: Settings, files: Sequence[Path], *, update: bool = False, hear: Hear = lambda _: None
) -> TaskProgress:
    """Send all files and follow them to their ends."""
    server.send("POST", "/v1/collection", {"collection_name": settings.collection})
    method = "PATCH" if update else "POST"
    data = {"collection_name": settings.collection, "blocking": False}
    return merged([
        follow(server, send(server, method, batch, data), hear)
        for batch in batches(files, int(settings.max_upload))
    ])


def send(server: Remote, method: str, batch: Sequence[Path], data: dict[str, Any]) -> str:
    """The task's id. Waits while the ingestor has as much to do as it may."""
    while True:
        try:
            return str(server.upload(method, "/v1/documents", batch, data)["task_id"])
        except Overloaded as full:
            err().print(full.message, markup=False)
            time.sleep(full.retry_after_s)


def follow(server: Remote, task: str, hear: Hear) -> TaskProgress:
    while True:
        body = server.get("/v1/status", task_id=task)
        if body["state"] == "UNKNOWN":
            raise NotFound(f"the ingestor does not know task {task} any more: look at its log")
        found = task_progress(body)
        hear(found)
        if found.over:
            return found
        time.sleep(POLL_S)


def ingest_with_bars(
    server: Remote, settings: Settings, files: Sequence[Path], *, update: bool = False
) -> TaskProgress:
    """A bar a file on standard error, where somebody looks."""
    console = err()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        known: dict[str, TaskID] = {}

        def hear(found: TaskProgress) -> None:
            for file in found.files:
                _move(bars, known, file)

        return ingest_files(server, settings, files, update=update, hear=hear)


def _move(bars: Progress, known: dict[str, TaskID], file: FileProgress) -> None:
    step, done, total = file.step
    if file.document not in known:
        known[file.document] = bars.add_task(file.document, total=None)
    label = "refused" if file.failed else "done" if file.state == "FINISHED" else step
    bars.update(known[file.document], description=f"{file.document}: {label}", completed=done, total=total or None)


def register(app: typer.Typer) -> None:
    app.command()(ingest)
