"""`ullage bench load`: a ranking service under more than it can do, measured from outside."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, mib, out, print_json

if TYPE_CHECKING:
    from ullage.bench.load import Service
    from ullage.bench.load_leave import Drained, Left
    from ullage.bench.load_overload import Overload

app = typer.Typer(help="A ranking service under load: each command starts one of its own.", rich_markup_mode=None)

Model = Annotated[str | None, typer.Option(help="card name or folder; else the default ranking model")]
Memory = Annotated[str | None, typer.Option(help="budget of the service, such as 700MiB")]
AsJson = Annotated[bool, typer.Option("--json", help=JSON_HELP)]


@app.command()
def fairness(
    context: typer.Context,
    calls: Annotated[int, typer.Option(min=10, help="small calls, alone and again beside the large ones")] = 200,
    model: Model = None,
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """A client of 5 passages beside one that sends 512 back to back: the p99 is to stay under 3 times its own, and
    one batch."""
    from ullage.bench.load_fairness import measure_fairness

    with _service(context, model, memory) as service:
        found = asyncio.run(measure_fairness(service.url, calls=calls))
    if as_json:
        print_json({**asdict(found), "bound_s": found.bound_s, "holds": found.holds})
        return
    _say(f"5 passages alone: p50 {_ms(found.unloaded_p50_s)}, p99 {_ms(found.unloaded_p99_s)} ({found.calls} calls)",
         f"beside 512 back to back: p50 {_ms(found.loaded_p50_s)}, p99 {_ms(found.loaded_p99_s)}",
         f"bound: 3 x {_ms(found.unloaded_p99_s)} + one batch of {_ms(found.batch_s)} = {_ms(found.bound_s)}: "
         f"{'holds' if found.holds else 'does not hold'}")


@app.command()
def overload(
    context: typer.Context,
    factor: Annotated[float, typer.Option(min=1.0, help="of the measured capacity")] = 3.0,
    seconds: Annotated[float, typer.Option(min=10.0, help="of load")] = 300.0,
    model: Model = None,
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """More requests than there is compute for: goodput, refusals, memory, and how soon all is as before."""
    from ullage.bench.load_overload import measure_overload

    with _service(context, model, memory) as service:
        found = asyncio.run(measure_overload(service.url, factor=factor, seconds=seconds))
    print_json(found.as_dict()) if as_json else _say(*_overload_lines(found))


def _overload_lines(found: Overload) -> list[str]:
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(found.statuses.items()))
    return [
        f"capacity before and after: {found.capacity[0]:.1f} and {found.capacity[1]:.1f} pairs/s",
        f"{found.sent} calls in {found.seconds:g} s, {found.factor:g} times that: {answers}",
        f"goodput from second {found.settled_s:g} on: {found.goodput:.1f} pairs/s, {found.share:.1%} of capacity",
        *(f"{name}: computing {phase.busy:.0%} of the time, {phase.tokens_per_compute_s:,.0f} tokens/s, "
          f"{phase.rows_per_batch:.1f} rows a batch" for name, phase in found.phases.items()),
        f"failed {found.failed}, wrong {found.wrong} of {found.checked} checked, refused without Retry-After "
        f"{found.bare}",
        f"refusals: p50 {_ms(found.refusal_p50_s)}, p99 {_ms(found.refusal_p99_s)}; "
        f"answers: p50 {found.answer_p50_s:.1f} s, p99 {found.answer_p99_s:.1f} s",
        f"resident memory: {mib(found.first_resident_bytes)} after {found.settled_s:g} s, "
        f"{mib(found.last_resident_bytes)} at the end, {mib(found.peak_resident_bytes)} at most",
        f"after the load: 5 passages in {_ms(found.small_s)} at once, all answered after {found.drained_s:.1f} s, then "
        f"p50 {_ms(found.recovered_p50_s)} (before: {_ms(found.alone_p50_s)})",
    ]


@app.command()
def leave(
    context: typer.Context,
    clients: Annotated[int, typer.Option(min=1, help="that disconnect before their answer")] = 1000,
    model: Model = None,
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """Clients that send a request and go away: the compute for them stops."""
    from ullage.bench.load_leave import measure_left

    with _service(context, model, memory) as service:
        found = asyncio.run(measure_left(service.url, clients=clients))
    print_json(asdict(found)) if as_json else _say(*_left_lines(found))


def _left_lines(found: Left) -> list[str]:
    return [
        f"{found.clients} clients asked for {found.asked_tokens:,} tokens and left: {found.computed_tokens:,} "
        f"computed, {found.abandoned} abandoned, {found.refused} refused",
        f"idle {found.idle_s:.2f} s after the last one left; {found.later_tokens} tokens computed after that, "
        f"{found.held_bytes} bytes of bodies held; then {found.answered_afterwards} of 5 calls answered",
    ]


@app.command()
def drain(
    context: typer.Context,
    clients: Annotated[int, typer.Option(min=1, help="that wait for an answer when SIGTERM comes")] = 100,
    model: Model = None,
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """SIGTERM under load: what was accepted is finished."""
    from ullage.bench.load_leave import measure_drained

    with _service(context, model, memory) as service:
        found = asyncio.run(measure_drained(service, clients=clients))
    print_json(found.as_dict()) if as_json else _say(*_drained_lines(found))


def _drained_lines(found: Drained) -> list[str]:
    answers = ", ".join(f"{count} x {status}" for status, count in sorted(found.statuses.items()))
    return [
        f"SIGTERM with {found.sent} calls sent and {found.accepted_tokens:,} tokens accepted: {answers}; "
        f"lost {len(found.lost)}, wrong {found.wrong}",
        f"ended with {found.exit_code} after {found.seconds:.1f} s",
    ]


def _service(context: typer.Context, model: str | None, memory: str | None) -> AbstractContextManager[Service]:
    from ullage.bench.load import own_service
    from ullage.stack.services import flags_as_environment

    asked = invocation(context)
    effective = asked.load(service="ranking", ranking_memory=memory, ranking_model=model)
    return own_service(flags_as_environment(effective, asked.config))


def _say(*lines: str) -> None:
    for line in lines:
        out().print(line, markup=False, highlight=False, soft_wrap=True)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"
