"""`ullage bench`: measurements of the product's own parts, to be repeated anywhere."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress, TaskID

from ullage.cli.ingest import expand, ingest_server, ingest_with_bars
from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, err, out, print_json, table
from ullage.cli.own import own_stack
from ullage.settings import Settings

if TYPE_CHECKING:
    from ullage.rag.evaluate import Report, TestQuestion

app = typer.Typer(help="Measure retrieval and answers.", rich_markup_mode=None, no_args_is_help=False)


@app.callback()
def bench() -> None:
    """Measure retrieval and answers."""


@app.command()
def quality(
    context: typer.Context,
    collection: Annotated[str, typer.Option(help="cranfield or med")],
    data: Annotated[Path, typer.Option(help="folder with the collection's files")],
    model: Annotated[str | None, typer.Option(help="ranking model: card name or folder")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """nDCG@10 and Recall@100 of each search and of reranking, on a public collection."""
    from ullage.bench.collections import read_collection
    from ullage.bench.quality import measure

    _log_to_stderr(invocation(context).load().settings)
    test = read_collection(collection, data)
    console = err()
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        stages: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=total)
            bars.update(stages[stage], completed=done)

        found = measure(test, report, model=model)
    if as_json:
        print_json(asdict(found))
        return
    measures = tuple(next(iter(found.rows.values())))
    what = f"{found.collection}, {found.queries} queries, {found.documents} documents"
    shown = table(what, *measures, right=measures)
    for name, row in found.rows.items():
        shown.add_row(name, *(f"{row[measure]:.3f}" for measure in measures))
    out().print(shown)
    out().print("; ".join(f"{name}: {value}" for name, value in found.setting.items()), markup=False)


@app.command()
def answers(
    context: typer.Context,
    questions: Annotated[Path, typer.Option(help="JSON lines with id, question, facts, document, page")],
    samples: Annotated[Path, typer.Option(help="folder with the documents")] = Path("samples"),
    memory: Annotated[str | None, typer.Option(help="budget of the whole stack, such as 3GiB")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Facts found, pages found, unanswerable questions declined: on a stack of its own."""
    from ullage.rag.evaluate import read_questions

    files, asked = expand([samples]), read_questions(questions)
    with own_stack(invocation(context), err(), memory=memory) as settings:
        _log_to_stderr(settings)
        with ingest_server(settings) as server:
            ingest_with_bars(server, settings, files)
        report = asyncio.run(_evaluate(settings, asked))
    if as_json:
        print_json(report.as_json())
    else:
        out().print(report.table(), markup=False)


async def _evaluate(settings: Settings, asked: list[TestQuestion]) -> Report:
    from ullage.rag.evaluate import evaluate
    from ullage.rag.pipeline import Rag, connect

    clients = connect(settings)
    try:
        return await evaluate(Rag(settings, clients), asked)
    finally:
        await clients.close()


def _log_to_stderr(settings: Settings) -> None:
    """The measured parts run in this process, and standard output is for the figures."""
    from ullage.http.logs import configure_logs

    configure_logs("WARNING", settings.log_format, "bench")
