"""`ullage bench`: measurements of the product's own parts, to be repeated anywhere."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import MofNCompleteColumn, Progress, TaskID

from ullage.cli.bench_load import app as load
from ullage.cli.bench_pages import pages
from ullage.cli.bench_rag import rag
from ullage.cli.bench_ray import ray_data, ray_replicas
from ullage.cli.ingest import expand, ingest_server, ingest_with_bars
from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, err, out, print_json, table
from ullage.cli.own import own_stack
from ullage.errors import SettingsError
from ullage.settings import Settings

if TYPE_CHECKING:
    from ullage.rag.evaluate import Report, TestQuestion

app = typer.Typer(help="Measure retrieval and answers.", rich_markup_mode=None, no_args_is_help=False)
app.add_typer(load, name="load")
app.command()(pages)
app.command()(rag)
app.command()(ray_data)
app.command()(ray_replicas)


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
def precision(
    context: typer.Context,
    cases: Annotated[Path, typer.Argument(help="JSON lines with a query and its passages")],
    model: Annotated[str | None, typer.Option(help="ranking model: card name or folder")] = None,
    precisions: Annotated[str, typer.Option(help="comma-separated: bf16, fp16, int8, fp8, as model and machine have "
                                                 "them")] = "bf16,int8",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """How each precision orders your own passages beside fp32: what a lower one would cost, before it is allowed."""
    from ullage.bench.agreement import measure_agreement, read_cases

    _log_to_stderr(invocation(context).load().settings)
    chosen = [each for each in precisions.split(",") if each]
    if not chosen:
        raise SettingsError("--precisions is empty: name one at least, such as bf16,int8")
    found = list(measure_agreement(read_cases(cases), chosen, _tell, model=model))
    if as_json:
        print_json([asdict(each) for each in found])
        return
    columns = ("Kendall's tau", "worst query", "same first ten", "largest difference", "spread of fp32")
    shown = table(f"beside fp32, queries: {found[0].cases}", *columns, right=columns)
    for each in found:
        shown.add_row(each.profile, f"{each.tau:.4f}", f"{each.worst_tau:.4f}", f"{each.same_top:.3f}",
                      f"{each.largest_difference:.4f}", f"{each.spread:.4f}")
    out().print(shown)


@app.command()
def answers(
    context: typer.Context,
    questions: Annotated[list[Path], typer.Option(help="JSON lines with id, question, facts, document, page")],
    samples: Annotated[list[Path] | None, typer.Option(help="folder with documents; may be repeated")] = None,
    vision: Annotated[bool | None, typer.Option("--vision", help="with the vision service")] = None,
    memory: Annotated[str | None, typer.Option(help="budget of the whole stack, such as 3GiB")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Facts found, pages found, unanswerable questions declined: on a stack of its own."""
    from ullage.rag.evaluate import read_questions

    files = expand(samples or [Path("samples")])
    asked = [question for path in questions for question in read_questions(path)]
    with own_stack(invocation(context), err(), memory=memory, vision=vision) as settings:
        _log_to_stderr(settings)
        with ingest_server(settings) as server:
            ingest_with_bars(server, settings, files)
        report = asyncio.run(_evaluate(settings, asked))
    if as_json:
        print_json(report.as_json())
    else:
        out().print(report.table(), markup=False)


@app.command()
def gpu(
    context: typer.Context,
    parts: Annotated[str, typer.Option(
        help="of speed, peer, memory, beside, http: which, comma-separated; or devices, which needs two GPUs")] = "",
    precisions: Annotated[str, typer.Option(help="comma-separated")] = "bf16,int8,fp8",
    folder: Annotated[Path | None, typer.Option(help="keeps the checkpoint of 2.3 GiB; else in cache_dir")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """The packed engine on this GPU beside padded transformers: speed, bytes, a shared card, HTTP. No downloads."""
    from ullage.bench.gpu_report import MORE_PARTS, PARTS, markdown, measure_all

    settings = invocation(context).load().settings
    _log_to_stderr(settings)
    chosen = tuple(part for part in parts.split(",") if part) or PARTS
    if unknown := [part for part in chosen if part not in PARTS + MORE_PARTS]:
        raise SettingsError(f"--parts={parts}: {unknown[0]} is none of {', '.join(PARTS + MORE_PARTS)}")
    if find_spec("torch") is None:
        raise SettingsError("bench gpu needs PyTorch for CUDA: pip install 'ullage[gpu]'")
    found = measure_all(folder or settings.cache_dir / "bench" / "llama-1b", settings.cache_dir, _tell, parts=chosen,
                        precisions=tuple(precisions.split(",")))
    if as_json:
        print_json(found.as_json())
    else:
        out().print(markdown(found), markup=False, highlight=False, soft_wrap=True)


@app.command()
def cpu(
    context: typer.Context,
    peers: Annotated[Path | None, typer.Option(help="environments that scripts/bench-cpu made; else only ours")] = None,
    parts: Annotated[str, typer.Option(help="of choose, peers, overhead, start: which")] = "peers,overhead,start",
    rounds: Annotated[int, typer.Option(min=1, help="of which medians are taken")] = 3,
    precision: Annotated[str, typer.Option(help="of ours: fp32, bf16 or int8")] = "int8",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Reranking on this CPU beside other libraries, on the same weights and texts; what HTTP adds; start to ready."""
    from ullage.bench.cpu import markdown, measure

    settings = invocation(context).load().settings
    _log_to_stderr(settings)
    found = measure(peers, settings.cache_dir, _tell, rounds=rounds, precision=precision, parts=parts.split(","))
    if as_json:
        print_json(found.as_json())
    else:
        out().print(markdown(found), markup=False, highlight=False, soft_wrap=True)


async def _evaluate(settings: Settings, asked: list[TestQuestion]) -> Report:
    from ullage.rag.connections import connect
    from ullage.rag.evaluate import evaluate
    from ullage.rag.pipeline import Rag

    clients = connect(settings)
    try:
        return await evaluate(Rag(settings, clients), asked)
    finally:
        await clients.close()


def _tell(said: str) -> None:
    """Progress of a measurement, in plain lines."""
    err().print(said, markup=False, highlight=False)


def _log_to_stderr(settings: Settings) -> None:
    """The measured parts run in this process, and standard output is for the figures."""
    from ullage.http.logs import configure_logs

    configure_logs("WARNING", settings.log_format, "bench")
