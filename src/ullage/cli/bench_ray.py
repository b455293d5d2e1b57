"""`ullage bench ray-data`: ingestion over Ray Data, its workers killed, beside the local ingestor in the same run.
`ullage bench ray-replicas`: ranking by 1, 2, 4 replicas."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ullage.cli.ingest import batches, follow, ingest_server, send
from ullage.cli.ingest_ray import ingest_with_bar
from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, err, out, print_json, table
from ullage.cli.own import own_stack
from ullage.errors import SettingsError, UllageError
from ullage.settings import Settings


class NotExactlyOnce(UllageError):
    """The collection does not hold each document once."""


def ray_data(
    context: typer.Context,
    documents: Annotated[int, typer.Option(min=1, help="synthetic documents through Ray Data")] = 2000,
    local: Annotated[int, typer.Option(min=1, help="of these through the local ingestor first")] = 2000,
    kill_every: Annotated[float, typer.Option(min=0, help="seconds between kills of a random worker; 0: none")] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Documents a second, memory and proof: each exactly once though a random worker is killed again and again."""
    from ullage.bench.ray_data import write_documents

    console = err()
    with own_stack(invocation(context), console) as settings, tempfile.TemporaryDirectory(prefix="ullage-") as folder:
        paths = write_documents(Path(folder), documents)
        found = {"local": _local(settings, paths[:local], console), "ray": _ray(settings, paths, kill_every)}
    if as_json:
        print_json(found)
    else:
        for name, said in found.items():
            out().print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in said.items()), markup=False,
                        highlight=False, soft_wrap=True)
    if not all(said["exactly_once"] for said in found.values()):
        raise NotExactlyOnce("a document is missing, broken or there twice: see the figures")


def ray_replicas(
    context: typer.Context,
    replicas: Annotated[str, typer.Option(help="how many, one after the other")] = "1,2,4",
    replica_cpus: Annotated[int, typer.Option(min=1, help="cores, and threads, of each")] = 2,
    seconds: Annotated[float, typer.Option(min=1.0, help="of load for each")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
) -> None:
    """Passages a second of so many ranking replicas on Ray, beside one service without it and beside the model."""
    from ullage.bench.ray_replicas import scale

    counts = [int(part) for part in replicas.split(",") if part.strip().isdigit() and int(part) > 0]
    if not counts or len(counts) != len(replicas.split(",")):
        raise SettingsError(f"--replicas {replicas}: write counts such as 1,2,4")
    found = scale(invocation(context).load().settings, counts, cpus=replica_cpus, seconds=seconds)
    if as_json:
        print_json(found.as_dict())
        return
    shown = table("replicas", "passages/s", "by the model", "off", "p50 s", "p99 s", "failed",
                  right=("passages/s", "by the model", "off", "p50 s", "p99 s", "failed"))
    one = found.alone
    shown.add_row("without Ray", f"{one.passages_per_s:.1f}", "", "", f"{one.p50_s:.2f}", f"{one.p99_s:.2f}",
                  str(one.failed))
    for count, flow in found.flows.items():
        shown.add_row(str(count), f"{flow.passages_per_s:.1f}", f"{count * one.passages_per_s:.1f}",
                      f"{found.off(count):+.1%}", f"{flow.p50_s:.2f}", f"{flow.p99_s:.2f}", str(flow.failed))
    out().print(shown)


def _local(settings: Settings, paths: Sequence[Path], console: Console) -> dict[str, Any]:
    """Everything is sent, then waited for: the ingestor is measured, not who sends."""
    from ullage.bench.ray_data import prove

    collection = "bench_local"
    data = {"collection_name": collection, "blocking": False}
    with ingest_server(settings) as server:
        server.send("POST", "/v1/collection", {"collection_name": collection})
        begun = time.monotonic()
        tasks = [send(server, "POST", batch, data) for batch in batches(paths, int(settings.max_upload))]
        for task in tasks:
            follow(server, task, lambda _: None)
        seconds = time.monotonic() - begun
    console.print(f"local: {len(paths)} documents in {seconds:.1f} s", markup=False)
    proof = prove(settings.url("vectors"), collection, [path.name for path in paths])
    return {"documents_per_s": round(len(paths) / seconds, 1), "seconds": round(seconds, 1),
            "exactly_once": proof.exactly_once, **asdict(proof)}


def _ray(settings: Settings, paths: Sequence[Path], kill_every: float) -> dict[str, Any]:
    """Ray's start and its end count: that is what the command takes. Memory is Ray's and this process's."""
    from ullage.bench.ray_data import killing, prove, watching_memory

    own = settings.model_copy(update={"collection": "bench_ray"})
    with watching_memory(os.getpid()) as memory, killing(kill_every) as kills:
        done = ingest_with_bar("local", own, paths)
    proof = prove(settings.url("vectors"), own.collection, [path.name for path in paths])
    return {"documents_per_s": round(len(paths) / done.seconds, 1), "seconds": done.seconds, "refused": done.failed,
            "kills": kills.total, "killed": dict(kills.by_name), "exactly_once": proof.exactly_once, **asdict(proof),
            "mib_first_tenth": round(memory.mean_mib(0, 0.1)), "mib_second_tenth": round(memory.mean_mib(0.1, 0.2)),
            "mib_last_tenth": round(memory.mean_mib(0.9, 1)), "mib_most": round(memory.most_mib)}
