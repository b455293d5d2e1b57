"""Ingestion over Ray Data while its workers are killed: synthetic documents, the killing, memory, and the proof."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ullage.ingest.ray.patience import patiently_here
from ullage.store import VectorStore

FILES_PER_FOLDER = 10_000
SAMPLE_S, PATIENCE_S = 2.0, 60.0
MIB = 1 << 20

_SUBJECTS = ("The harbour master", "A baker of the old town", "The ferry to the island", "Our lighthouse",
             "The archive", "A clerk at the customs house", "The night train",
             "The weather station", "A carpenter", "The school")
_VERBS = ("opens", "closes", "reports", "delivers", "repairs", "counts", "paints", "measures", "keeps", "moves")
_OBJECTS = ("the northern gate", "forty crates of oranges", "a brass bell", "the tide tables", "two letters", "a map",
            "the winter timetable", "nine barrels of salt", "the copper roof", "a ledger of arrivals")
_TIMES = ("before dawn", "at noon", "every third day", "on the first of the month", "after the storm", "in late autumn",
          "when the wind turns", "without notice", "under supervision", "for a small fee")


def write_documents(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """Text files of three to six sentences, the same for the same seed. No two hold the same bytes."""
    random_of = random.Random(seed)  # noqa: S311 - made up texts
    paths = []
    for number in range(count):
        path = folder / f"{number // FILES_PER_FOLDER:03}" / f"document-{seed}-{number:07}.txt"
        if number % FILES_PER_FOLDER == 0:
            path.parent.mkdir(parents=True)
        sentences = [f"This is record {number} of series {seed}."]
        sentences += [" ".join(map(random_of.choice, (_SUBJECTS, _VERBS, _OBJECTS, _TIMES))) + "."
                      for _ in range(random_of.randint(2, 5))]
        path.write_text(" ".join(sentences))
        paths.append(path)
    return paths


def workers(pid: int) -> list[tuple[psutil.Process, str]]:
    """Ray's worker processes below a process, each with what it runs: a stage, Ray Data's own, or `IDLE`.

    An agent is none: a node ends with it.
    """
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            what, name = child.status(), "".join(child.cmdline()[:1])
            if what != psutil.STATUS_ZOMBIE and name.startswith("ray::") and not name.endswith("Agent"):
                found.append((child, name.removeprefix("ray::").strip()))
    return found


@dataclass
class Kills:
    """How often a process of each name was killed."""

    by_name: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.by_name.total()


@contextmanager
def killing(every_s: float, *, seed: int = 0, pid: int | None = None) -> Iterator[Kills]:
    """A random worker below `pid` (default: this process) gets SIGKILL every so often; 0: none does."""
    random_of, kills = random.Random(seed), Kills()  # noqa: S311 - no secret

    def kill() -> None:
        if found := workers(os.getpid() if pid is None else pid):
            victim, name = random_of.choice(found)
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL)
                kills.by_name[name] += 1

    with _every(every_s, kill) if every_s else nullcontext():
        yield kills


@dataclass
class Memory:
    """Samples of (seconds since the begin, bytes) of some processes; shared pages count once."""

    samples: list[tuple[float, int]] = field(default_factory=list)

    def mean_mib(self, begin: float, end: float) -> float:
        """Of a part of the time, each 0 to 1."""
        whole = self.samples[-1][0]
        part = [size for at, size in self.samples if begin * whole <= at <= end * whole]
        return sum(part) / len(part) / MIB

    @property
    def most_mib(self) -> float:
        return max(size for _, size in self.samples) / MIB


@contextmanager
def watching_memory(pid: int) -> Iterator[Memory]:
    """Of a process and of all that begin below it meanwhile; what runs there already does not count."""
    memory, begun = Memory(), time.monotonic()
    others = {child.pid for child in psutil.Process(pid).children(recursive=True)}

    def sample() -> None:
        memory.samples.append((time.monotonic() - begun, proportional_bytes(pid, others)))

    with _every(SAMPLE_S, sample):
        yield memory
    sample()


def proportional_bytes(pid: int, others: Collection[int] = ()) -> int:
    """Of a process and all below it but `others`."""
    total = 0
    for process in (one := psutil.Process(pid), *one.children(recursive=True)):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss if process.pid not in others else 0
    return total


@contextmanager
def _every(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        while not over.wait(seconds):
            do()

    thread = threading.Thread(target=run, name="bench", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Proof:
    """What a collection holds against what it should: names that are `missing`, `foreign` or not whole, passages that
    are there `twice`, and the passages in all."""

    documents: int
    passages: int
    missing: int
    foreign: int
    broken: int
    twice: int

    @property
    def exactly_once(self) -> bool:
        return not (self.missing or self.foreign or self.broken or self.twice)


def prove(uri: str, collection: str, names: Sequence[str]) -> Proof:
    """Reads the place of every passage of the collection."""
    with closing(VectorStore(uri)) as store:
        patiently_here(store.ping, PATIENCE_S)
        documents = {document.name: document for document in store.documents(collection)}
        seen = Counter(store.places(collection))
    wanted = {(name, document.content_hash, ordinal)
              for name, document in documents.items() for ordinal in range(document.chunks)}
    broken = {name for name, *_ in wanted.symmetric_difference(seen)}
    return Proof(len(documents), seen.total(), len(set(names) - set(documents)), len(set(documents) - set(names)),
                 len(broken), sum(count - 1 for count in seen.values()))
