"""`ullage bench rag`: many people before the RAG server, with models as fast as any are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.output import JSON_HELP, mib, out, print_json, table

if TYPE_CHECKING:
    from ullage.bench.rag_load import RagLoad


def rag(
    users: Annotated[int, typer.Option(min=1, help="who ask, read and ask again")] = 125,
    seconds: Annotated[float, typer.Option(min=1.0, help="of load")] = 60.0,
    think: Annotated[float, typer.Option(min=0.0, help="seconds that a user pauses on average; 0: never")] = 10.0,
    candidates: Annotated[int, typer.Option(min=1, max=400, help="passages retrieved")] = 100,
    kept: Annotated[int, typer.Option(min=1, max=25, help="passages kept after reranking")] = 10,
    vectors_uri: Annotated[str, typer.Option(help="of a Milvus server that runs; else a Milvus Lite of its own")] = "",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Time to the first text under load, and what of it is the server's own; starts everything it needs."""
    from ullage.bench.rag_load import bench, measure

    with bench(candidates=candidates, kept=kept, vectors_uri=vectors_uri) as where:
        found = asyncio.run(measure(where, users=users, seconds=seconds, think_s=think))
    if as_json:
        print_json(found.as_dict())
        return
    _show(found)


def _show(found: RagLoad) -> None:
    from ullage.bench.load import quantile

    shown = table("to the first text", "p50, ms", "p99, ms", right=("p50, ms", "p99, ms"))
    for name, values in (("in all", found.first_text_s), ("without the models: the server's own", found.own_s),
                         ("without the search in the database too", found.own_without_database_s)):
        shown.add_row(name, *(f"{quantile(values, share) * 1e3:.1f}" for share in (0.5, 0.99)))
    for name, (middle, worst) in found.stages_ms.items():
        shown.add_row(f"stage {name}", f"{middle:.1f}", f"{worst:.1f}")
    out().print(shown)
    models = ", ".join(f"{name} {value:.1f} ms" for name, value in found.models_ms.items())
    memory, cost = found.resident_bytes or (0,), found.cost
    for line in (
        f"{found.users} users, {found.think_s:g} s between their questions: {found.answered} answers in "
        f"{found.seconds:.0f} s, {found.rate:.1f} a second; failed {found.failed}, wrong {found.wrong}, degraded "
        f"{found.degraded}",
        f"the models' own time (p50): {models}",
        f"processor time of an answer: {', '.join(f'{name} {value:.1f} ms' for name, value in found.cpu_ms.items())}",
        f"the machine: {cost.cores} cores, {cost.busy * 100:.0f} % busy, {cost.others_cores:.2f} cores by what is not "
        f"of this run; load {cost.load[0]:.1f} before, {cost.load[1]:.1f} after",
        f"resident memory: {mib(memory[0])} at the start, {mib(memory[len(memory) // 2])} half way, "
        f"{mib(memory[-1])} at the end",
    ):
        out().print(line, markup=False, highlight=False, soft_wrap=True)
