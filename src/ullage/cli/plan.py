"""`ullage plan`: what each service would take, before anything is started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ullage.cli.choices import chosen_services
from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, mib, out, print_json, table

if TYPE_CHECKING:
    from ullage.plan import Plan, ServicePlan

PARTS = ("fixed", "weights", "activations", "slack")


def plan(
    context: typer.Context,
    memory: Annotated[str | None, typer.Option(help="budget of the whole stack, such as 3GiB")] = None,
    only: Annotated[str | None, typer.Option(help="these services alone, separated by commas")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Predicted memory of every service, part by part, and the profiles that were rejected."""
    from ullage.stack.place import elsewhere, place

    effective = invocation(context).load(memory=memory)
    found = place(effective.settings, chosen_services(only))
    if as_json:
        print_json({**plan_as_json(found), "elsewhere": elsewhere(effective.settings)})
    else:
        show_plan(out(), found)
        for service, url in elsewhere(effective.settings).items():
            out().print(f"{service} is not planned here: the settings say it runs at {url}")


def show_plan(console: Console, found: Plan) -> None:
    shown = table("service", "profile", *PARTS, "total", right=(*PARTS, "total"))
    for planned in found.services:
        parts = planned.ledger.as_dict()
        shown.add_row(planned.service, planned.profile_id, *(mib(parts[p]) for p in PARTS), mib(planned.ledger.total))
    console.print(shown)
    console.print(f"sum {mib(found.total_bytes)} of {mib(found.budget_bytes)} ({found.budget_source})")
    for planned in found.services:
        for profile, reason in planned.rejected:
            console.print(f"{planned.service} rejected {profile}: {reason}")


def plan_as_json(found: Plan) -> dict[str, Any]:
    return {
        "budget_bytes": found.budget_bytes,
        "budget_source": found.budget_source,
        "total_bytes": found.total_bytes,
        "services": [_service_as_json(planned) for planned in found.services],
    }


def _service_as_json(planned: ServicePlan) -> dict[str, Any]:
    return {
        "service": planned.service,
        "model": planned.card.name if planned.card else None,
        "profile": planned.profile_id,
        **{f"{part}_bytes": size for part, size in planned.ledger.as_dict().items()},
        "total_bytes": planned.ledger.total,
        "rejected": [{"profile": profile, "reason": reason} for profile, reason in planned.rejected],
    }


def register(app: typer.Typer) -> None:
    app.command()(plan)
