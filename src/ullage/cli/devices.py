"""`ullage devices`: what a machine has, and a file of it for planning elsewhere."""

from __future__ import annotations

import dataclasses
import socket
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, mib, out, print_json, table
from ullage.errors import SettingsError

if TYPE_CHECKING:
    from ullage.devices import Gpu, Machine


def devices(
    context: typer.Context,
    device_file: Annotated[str | None, typer.Option(help="show this YAML file or shipped example")] = None,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="print a file for `ullage plan --device-file`")] = False,
) -> None:
    """Processor, memory and what limits it, GPUs and who holds them, and the disk of the model cache."""
    from ullage.devices import detect, examples, find_machine, machine_as_dict, machine_as_yaml

    if as_json and as_yaml:
        raise SettingsError("--json and --yaml are both given: keep one of them")
    if device_file is None:
        machine = detect(cache_dir=invocation(context).load().settings.cache_dir)
    else:
        machine = find_machine(device_file)
    if as_yaml:
        # A file is read elsewhere, where "this machine" would be another one.
        name = socket.gethostname() if device_file is None else machine.name
        print(machine_as_yaml(dataclasses.replace(machine, name=name)), end="")
    elif as_json:
        print_json({**machine_as_dict(machine), "examples": list(examples())})
    else:
        _show(out(), machine)


def _show(console: Console, machine: Machine) -> None:
    processor = ", ".join(part for part in (machine.cpu_model, " ".join(machine.cpu_flags)) if part)
    console.print(f"{machine.name}: {machine.cores} cores" + (f" ({processor})" if processor else ""), markup=False)
    console.print(f"memory: {mib(machine.free_bytes)} free of {mib(machine.total_bytes)} (limit: {machine.limit})",
                  markup=False)
    if machine.disk is not None:
        disk = machine.disk
        console.print(f"disk of {disk.path}: {mib(disk.free_bytes)} free of {mib(disk.total_bytes)}", markup=False)
    console.print(f"engines: {', '.join(machine.runtimes)}")
    shown = table("gpu", "name", "kind", "compute", "total", "free", "held by", right=("total", "free"))
    for gpu in machine.gpus:
        capability = f"{gpu.compute[0]}.{gpu.compute[1]}" if gpu.compute else "unknown"
        shown.add_row(f"cuda:{gpu.index}", gpu.name, gpu.kind, capability, mib(gpu.total_bytes), mib(gpu.free_bytes),
                      held_by(gpu))
    console.print(shown if machine.gpus else "no GPU")
    for note in machine.notes:
        console.print(note, markup=False)


def held_by(gpu: Gpu) -> str:
    """Who holds a GPU's memory, as far as the driver says."""
    said = [f"{holder.name or 'a process'} (pid {holder.pid})"
            + ("" if holder.held_bytes is None else f" {mib(holder.held_bytes)}") for holder in gpu.holders]
    if not gpu.holders_known:
        said.append(f"{mib(gpu.held_bytes)} in all, the driver does not say by whom" if not said else
                    f"{mib(gpu.held_bytes)} in all, the driver does not say the rest")
    return ", ".join(said) or "nobody"


def register(app: typer.Typer) -> None:
    app.command()(devices)
