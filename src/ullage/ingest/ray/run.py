"""The driver: what is open in the ledger goes through the stages, and what comes out of them ends there.

Only this process writes the ledger. Killed at any moment, it goes on from there: a document whose end was not written
down is read and stored once more, over itself.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ullage.errors import UllageError, Unavailable
from ullage.ingest.ray import Prepare
from ullage.ingest.ray.patience import patiently_here
from ullage.ingest.ray.reading import ReadStage
from ullage.ingest.ray.rows import Asked, asked_table, endings_of
from ullage.ingest.ray.storing import EmbedStage, WriteStage
from ullage.settings import Settings
from ullage.store import FileRecord, TaskRecord
from ullage.store.ledger_bulk import BulkLedger, Ending

FILES_PER_BLOCK = 256
"""What one task reads, and what is lost when its worker dies."""

BLOCK_BYTES = 16 << 20
"""Between stages: a block of long documents is split before it is larger."""

CALL_CPUS = 0.25
"""Of a worker that mostly waits for an answer."""

FILES_IN_FLIGHT = 2
"""Blocks that a worker has beside the one it works on."""

FRUITLESS_RUNS = 2
"""So often it is begun anew, when Ray gave up, without one more document."""

Hear = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Pools:
    """Most workers of each stage; `writers` is one where the database lets only one write at a time."""

    readers: int
    embedders: int
    writers: int
    reader_cpus: float = 1.0

    @classmethod
    def of(cls, cpus: float, *, one_writer: bool) -> Pools:
        """For a cluster with so many free cores. Raises Unavailable where not even one of each fits."""
        if cpus < 1:
            raise Unavailable(f"the Ray cluster has {cpus:g} cores free, and ingestion needs one: add a node, or stop "
                              "what runs there")
        reader_cpus = 1.0 if cpus >= 1 + 2 * CALL_CPUS else 0.5
        calls = max(1, int(cpus / 4))
        return cls(max(1, int(cpus - 2 * calls * CALL_CPUS)), calls, 1 if one_writer else calls, reader_cpus)


def ingest_open(ledger: BulkLedger, settings: Settings, collection: str, pools: Pools, prepare: Prepare,
                hear: Hear = lambda _: None) -> None:
    """Bring every open file of the collection to its end. `hear` is told how many came to one.

    Raises Unavailable when a service stays away, or Ray gives up again and again: what is open stays open.
    """
    from ray.exceptions import RayError

    fruitless = 0
    while ledger.begin_open(collection):
        done = 0
        try:
            for ended in _run(ledger, settings, collection, pools, prepare):
                done += ended
                hear(ended)
        except RayError as error:
            if (ours := _ours(error)) is not None:
                raise ours from None
            fruitless = 0 if done else fruitless + 1
            if fruitless >= FRUITLESS_RUNS:
                raise Unavailable(f"Ray gave up ({_said(error)}): what is not ingested is kept, run it again") from None


def _run(ledger: BulkLedger, settings: Settings, collection: str, pools: Pools, prepare: Prepare) -> Any:
    """Files ended, block by block."""
    quieten()
    for block in _stages(_source(ledger, collection), settings, collection, pools, prepare).iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield _ended(ledger, endings_of(block), settings.request_timeout_s)


def _ended(ledger: BulkLedger, endings: Sequence[Ending], patience_s: float) -> int:
    """Written down, also when the ledger is away for a while."""
    return patiently_here(lambda: ledger.finish_many(endings), patience_s)


def quieten() -> None:
    """Ray Data draws bars and writes reports onto the terminal, which is ours. What it cannot report because the actor
    that gathers its figures was killed is no matter of ours: an error of a stage comes out of the dataset."""
    from ray.data import DataContext

    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _source(ledger: BulkLedger, collection: str) -> Any:
    """Paths alone: some hundred bytes a file."""
    from ray.data import from_arrow

    tables, some = [], []
    for file, task in ledger.begun(collection):
        some.append(_asked(file, task))
        if len(some) == FILES_PER_BLOCK:
            tables.append(asked_table(some))
            some = []
    return from_arrow([*tables, *([asked_table(some)] if some else [])])


def _asked(file: FileRecord, task: TaskRecord) -> Asked:
    return Asked(file.number, file.name, str(file.wish["path"]), int(task.options["chunk_tokens"]),
                 int(task.options["chunk_overlap"]))


def _stages(source: Any, settings: Settings, collection: str, pools: Pools, prepare: Prepare) -> Any:
    """A lazy dataset of endings. Ray holds a stage back while the next has enough waiting before it."""
    def pool(most: int) -> Any:
        from ray.data import ActorPoolStrategy

        return ActorPoolStrategy(min_size=1, max_size=most, max_tasks_in_flight_per_actor=FILES_IN_FLIGHT)

    shared: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}
    read = source.map_batches(ReadStage, fn_constructor_args=(settings, prepare), compute=pool(pools.readers),
                              num_cpus=pools.reader_cpus, **shared)
    embed = read.map_batches(EmbedStage, fn_constructor_args=(settings, prepare), compute=pool(pools.embedders),
                             num_cpus=CALL_CPUS, **shared)
    return embed.map_batches(WriteStage, fn_constructor_args=(settings, prepare, collection),
                             compute=pool(pools.writers), num_cpus=CALL_CPUS, **shared)


def _ours(error: BaseException) -> UllageError | None:
    """What a stage of ours raised. Of an error in a worker Ray hands on its traceback as text, not the error itself."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line.partition(": ")[2] for line in lines if line.startswith("ullage.errors.")]
    return Unavailable(f"{said[-1]}; what is not ingested is kept, run it again") if said else None


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
