"""`ullage ingest --ray`: files of a folder that every node has, through the stages of Ray Data."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import closing, redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ullage.cli.output import err, out, print_json
from ullage.errors import OUTCOMES, DocumentRefused, SettingsError
from ullage.settings import Settings

if TYPE_CHECKING:
    from ullage.ingest.ray.accept import Accepted
    from ullage.stack.ray.cluster import Cluster
    from ullage.store.ledger_bulk import BulkLedger

MOST_SHOWN = 1000
"""Refused files that are told one by one."""


@dataclass(frozen=True, slots=True)
class Ingestion:
    """`files` are those that this run was asked for or went on with; `there` were in the collection already."""

    collection: str
    files: int
    resumed: int
    there: int
    finished: int
    failed: int
    seconds: float
    refused: tuple[tuple[str, str], ...]

    def lines(self) -> list[str]:
        rate = (self.finished + self.failed) / self.seconds if self.seconds else 0.0
        said = [f"{name}: refused: {reason.removeprefix(f'{name}: ')}" for name, reason in self.refused]
        if self.failed > len(self.refused):
            said.append(f"and {self.failed - len(self.refused)} more refused")
        if self.resumed:
            said.append(f"{self.resumed} file(s) of an earlier run were gone on with")
        if self.there:
            said.append(f"{self.there} file(s) were there already; --update replaces them")
        return [*said, f"{self.collection}: {self.finished} document(s) ingested, {self.failed} refused, in "
                       f"{self.seconds:.1f} s ({rate:.1f} a second)"]


def ingest_on_ray(address: str, settings: Settings, files: Sequence[Path], *, update: bool, as_json: bool) -> None:
    """Raises SettingsError or Unavailable; exit code 5 when a file was refused."""
    done = ingest_with_bar(address, settings, files, update=update)
    if as_json:
        print_json(asdict(done))
    else:
        for line in done.lines():
            out().print(line, markup=False, highlight=False)
    if done.failed:
        raise typer.Exit(OUTCOMES[DocumentRefused].exit_code)


def ingest_with_bar(address: str, settings: Settings, files: Sequence[Path], *, update: bool = False) -> Ingestion:
    """The ledger is `state_dir/ingest-ray/ledger.db`, or the schema `ullage_ingest_ray` at `ingest_ledger_url`. Raises
    DependencyDown while another run works on it."""
    from ullage.ingest.alone import Alone
    from ullage.ingest.ray.accept import accept, open_collection
    from ullage.stack.doors import take_keys
    from ullage.stack.ray.cluster import joined
    from ullage.store import VectorStore
    from ullage.store.ledger_bulk import BulkLedger
    from ullage.store.places import bulk_place

    _check(settings)
    place = bulk_place(settings)
    take_keys(settings)
    alone = Alone(settings.state_dir / "ingest-ray")
    alone.take()
    try:
        with closing(BulkLedger(place)) as ledger:
            with closing(VectorStore(settings.url("vectors"))) as store:
                open_collection(store, settings)
                accepted = accept(ledger, store, settings, files, update=update)
                one_writer = store.abilities().lite
            begun = time.monotonic()
            if accepted.files or accepted.resumed:
                # Ray writes what befell its workers to standard output, which is for what we say.
                with redirect_stdout(sys.stderr), joined(address) as cluster:
                    _bring_to_end(cluster, ledger, settings, accepted, one_writer=one_writer)
            return _told(ledger, settings, accepted, time.monotonic() - begun)
    finally:
        alone.give_back()


def _check(settings: Settings) -> None:
    if "://" not in settings.url("vectors"):
        raise SettingsError(f"vectors_uri={settings.url('vectors')} is a local file, which one process may open: --ray "
                            "needs a server's URI")


def _bring_to_end(cluster: Cluster, ledger: BulkLedger, settings: Settings, accepted: Accepted, *,
                  one_writer: bool) -> None:
    from ullage.ingest.ray.run import Pools, ingest_open
    from ullage.stack.doors import take_keys
    from ullage.stack.ray.reach import check_reach, free_cpus

    check_reach(cluster, settings)
    pools = Pools.of(free_cpus(), one_writer=one_writer)
    console = err()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(settings.collection, total=accepted.resumed + accepted.files)
        ingest_open(ledger, settings, settings.collection, pools, take_keys, lambda n: bars.advance(bar, n))


def _told(ledger: BulkLedger, settings: Settings, accepted: Accepted, seconds: float) -> Ingestion:
    counts = [ledger.counts(task) for task in accepted.tasks]
    refused = tuple((file.name, file.error) for file in ledger.failures(accepted.tasks, MOST_SHOWN))
    return Ingestion(
        collection=settings.collection, files=accepted.files, resumed=accepted.resumed, there=accepted.there,
        finished=sum(count.get("FINISHED", 0) for count in counts),
        failed=sum(count.get("FAILED", 0) for count in counts), seconds=round(seconds, 2), refused=refused,
    )
