"""`ullage plan` and `ullage list-model-profiles`: what would run where, and in how many bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from ullage.cli.choices import chosen_services, one_service
from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, mib, out, print_json, table
from ullage.cli.plan_target import show_target
from ullage.errors import SettingsError

if TYPE_CHECKING:
    from ullage.devices import Machine
    from ullage.plan import Ledger, Plan, ServicePlan

PARTS = ("fixed", "weights", "activations", "slack")
DEVICE_FILE_HELP = "plan for the machine of this YAML file, or of a shipped example, instead of this one"


def plan(
    context: typer.Context,
    service: Annotated[str | None, typer.Argument(help="one service started alone; else the whole stack")] = None,
    memory: Annotated[str | None, typer.Option(help="host budget, such as 3GiB")] = None,
    gpu_memory: Annotated[str | None, typer.Option(help="budget on each GPU, such as 4GiB")] = None,
    only: Annotated[str | None, typer.Option(help="these services alone, separated by commas")] = None,
    device_file: Annotated[str | None, typer.Option(help=DEVICE_FILE_HELP)] = None,
    target: Annotated[str | None, typer.Option(help='sizes for a load: "2000 passages/s, 50M chunks"')] = None,
    price: Annotated[float | None, typer.Option(min=0.0, help="with --target: what a replica costs per hour")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Predicted memory of every service, part by part, where it runs, and the profiles that were rejected."""
    from ullage.stack.place import elsewhere, place, place_one

    if target is not None:
        given = {"SERVICE": service, "--memory": memory, "--gpu-memory": gpu_memory, "--only": only,
                 "--device-file": device_file}
        if beside := [name for name, value in given.items() if value is not None]:
            raise SettingsError(f"{beside[0]} says nothing of how many replicas --target needs: leave it out")
        show_target(target, price, as_json=as_json)
        return
    if price is not None:
        raise SettingsError(f"--price {price:g} is for --target: give one, or leave it out")
    if service is not None and only is not None:
        raise SettingsError(f"{service} and --only {only} are both given: name one service, or some of the stack")
    machine = machine_of(device_file)
    if service is not None:
        one = one_service(service)
        settings = invocation(context).load(service=one, **{f"{one}_memory": memory}, gpu_memory=gpu_memory).settings
        found, away = place_one(settings, one, machine), {}
    else:
        settings = invocation(context).load(memory=memory, gpu_memory=gpu_memory).settings
        found, away = place(settings, chosen_services(only), machine), elsewhere(settings)
    if as_json:
        print_json({**plan_as_json(found), "elsewhere": away})
        return
    show_plan(out(), found)
    for name, url in away.items():
        out().print(f"{name} is not planned here: the settings say it runs at {url}")


def machine_of(device_file: str | None) -> Machine | None:
    if device_file is None:
        return None
    from ullage.devices import find_machine

    return find_machine(device_file)


def show_plan(console: Console, found: Plan) -> None:
    shown = table("service", "profile", "on", *PARTS, "total", right=(*PARTS, "total"))
    for planned in found.services:
        first: tuple[str, str] = (planned.service, planned.profile_id)
        if planned.gpu_ledger is not None:
            shown.add_row(*first, planned.where, *_cells(planned.gpu_ledger))
            first = ("", "")
        shown.add_row(*first, "host" if planned.gpu_ledger else "cpu", *_cells(planned.ledger))
    console.print(shown)
    console.print(f"sum {mib(found.total_bytes)} of {mib(found.budget_bytes)} ({found.budget_source})")
    for gpu in found.machine.gpus:
        limit = found.budget.gpus[gpu.index]
        console.print(f"cuda:{gpu.index} {gpu.name}: {mib(found.gpu_bytes(gpu.index))} of {mib(limit.size)} "
                      f"({limit.source})")
    for note in found.notes:
        console.print(note)
    for planned in found.services:
        for profile, reason in planned.rejected:
            console.print(f"{planned.service} rejected {profile}: {reason}")


def _cells(ledger: Ledger) -> list[str]:
    parts = ledger.as_dict()
    return [*(mib(parts[part]) for part in PARTS), mib(ledger.total)]


def plan_as_json(found: Plan) -> dict[str, Any]:
    return {
        "machine": found.machine.name,
        "budget_bytes": found.budget_bytes,
        "budget_source": found.budget_source,
        "total_bytes": found.total_bytes,
        "gpus": [
            {
                "index": gpu.index, "name": gpu.name, "total_bytes": gpu.total_bytes, "free_bytes": gpu.free_bytes,
                "budget_bytes": found.budget.gpus[gpu.index].size,
                "budget_source": found.budget.gpus[gpu.index].source,
                "planned_bytes": found.gpu_bytes(gpu.index),
            }
            for gpu in found.machine.gpus
        ],
        "notes": list(found.notes),
        "services": [_service_as_json(planned) for planned in found.services],
    }


def _service_as_json(planned: ServicePlan) -> dict[str, Any]:
    gpu = planned.gpu_ledger
    return {
        "service": planned.service,
        "model": planned.card.name if planned.card else None,
        "profile": planned.profile_id,
        "device": planned.where,
        **{f"{part}_bytes": size for part, size in planned.ledger.as_dict().items()},
        "total_bytes": planned.ledger.total,
        "gpu": None if gpu is None else {**{f"{part}_bytes": size for part, size in gpu.as_dict().items()},
                                         "total_bytes": gpu.total},
        "rejected": [{"profile": profile, "reason": reason} for profile, reason in planned.rejected],
        "fallbacks": [{"profile": f.profile_id, "device": f.where} for f in planned.fallbacks],
    }


def list_model_profiles(
    context: typer.Context,
    service: Annotated[str, typer.Argument(help="ranking, embedding or llm")] = "ranking",
    device_file: Annotated[str | None, typer.Option(help=DEVICE_FILE_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """The profiles of a service's model, in the form that the replaced stack's tool of this name prints."""
    from ullage.stack.place import profiles_of

    one = one_service(service)
    settings = invocation(context).load(service=one).settings
    found = profiles_of(settings, one, machine_of(device_file))
    if as_json:
        print_json([profile.as_dict() for profile in found])
        return
    console = out()
    console.print(f"MODEL PROFILES of {settings.model(one)}")
    for title, state in (("Compatible with system and runnable", "fits"),
                         ("Compatible with system but low memory", "low memory")):
        console.print(f"- {title}:")
        for profile in found:
            if profile.state == state:
                console.print(f"  - {profile.number} {profile.hash} ({profile.description}) {profile.reason}".rstrip())


def register(app: typer.Typer) -> None:
    app.command()(plan)
    app.command("list-model-profiles")(list_model_profiles)
