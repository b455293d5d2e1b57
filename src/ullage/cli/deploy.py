"""`ullage deploy`: the plan as a compose environment, Kubernetes manifests, or a systemd unit, on standard output."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from ullage.cli.choices import chosen_services
from ullage.cli.invocation import invocation
from ullage.cli.plan import DEVICE_FILE_HELP, machine_of

if TYPE_CHECKING:
    from ullage.plan import Plan
    from ullage.settings import Settings

app = typer.Typer(help="Files that others start the stack from, made from the plan.", no_args_is_help=True)

Memory = Annotated[str | None, typer.Option(help="host budget, such as 3GiB")]
GpuMemory = Annotated[str | None, typer.Option(help="budget on each GPU, such as 4GiB")]
Only = Annotated[str | None, typer.Option(help="these services alone, separated by commas")]
DeviceFile = Annotated[str | None, typer.Option(help=DEVICE_FILE_HELP)]


def _placed(
    context: typer.Context, memory: str | None, gpu_memory: str | None, only: str | None, device_file: str | None
) -> tuple[Plan, Settings]:
    from ullage.stack.place import place

    settings = invocation(context).load(memory=memory, gpu_memory=gpu_memory).settings
    return place(settings, chosen_services(only), machine_of(device_file)), settings


@app.command()
def env(
    context: typer.Context, memory: Memory = None, gpu_memory: GpuMemory = None, only: Only = None,
    device_file: DeviceFile = None,
) -> None:
    """Budgets and container limits as `NAME=VALUE`, for deploy/compose/stack.yaml."""
    from ullage.stack.deploy import compose_environment

    plan, _ = _placed(context, memory, gpu_memory, only, device_file)
    for name, value in compose_environment(plan).items():
        print(f"{name}={value}")


@app.command()
def kubernetes(
    context: typer.Context, memory: Memory = None, gpu_memory: GpuMemory = None, only: Only = None,
    device_file: DeviceFile = None,
    image: Annotated[str, typer.Option(help="of our services")] = "ullage:cuda",
    namespace: Annotated[str, typer.Option(help="that everything is put into")] = "ullage",
) -> None:
    """Manifests of every service but the vector database: `... | kubectl apply -f -`."""
    from ullage.stack.deploy import manifests

    plan, settings = _placed(context, memory, gpu_memory, only, device_file)
    print(yaml.safe_dump_all(manifests(plan, settings, image=image, namespace=namespace), sort_keys=False), end="")


@app.command()
def systemd(
    context: typer.Context, memory: Memory = None, gpu_memory: GpuMemory = None, only: Only = None,
    user: Annotated[str | None, typer.Option(help="who runs it; else you")] = None,
) -> None:
    """A unit file: `... > /etc/systemd/system/ullage.service`."""
    from ullage.stack.deploy import systemd_unit

    plan, settings = _placed(context, memory, gpu_memory, only, None)
    print(systemd_unit(plan, settings, user=user or getpass.getuser(), config=invocation(context).config), end="")
