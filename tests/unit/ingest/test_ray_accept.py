"""What a bulk run is asked to ingest, and what it goes on with."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from hashing import DIMENSION, HashingEmbedder
from ullage.errors import DependencyDown, InvalidRequest, SettingsError, Unavailable
from ullage.ingest.ray.accept import accept, open_collection
from ullage.ingest.ray.patience import patiently, patiently_here
from ullage.ingest.ray.run import Pools
from ullage.settings import Settings
from ullage.store import Chunk, MetadataField, VectorStore
from ullage.store.database import Place, WriterChanged
from ullage.store.ledger_bulk import BulkLedger, Ending


@pytest.fixture
def settings(embedder: HashingEmbedder, tmp_path: Path, model_cache: Path) -> Settings:
    return Settings.model_validate({"embedding_url": embedder.url, "vectors_uri": str(tmp_path / "vectors.db"),
                                    "cache_dir": model_cache, "collection": "c", "request_timeout_s": 2})


@pytest.fixture
def ledger(place: Place) -> Iterator[BulkLedger]:
    with closing(BulkLedger(place)) as ledger:
        yield ledger


@pytest.fixture
def store(settings: Settings) -> Iterator[VectorStore]:
    with closing(VectorStore(settings.vectors_uri)) as store:
        yield store


def files(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_text(f"text of {name}")
    return [folder / name for name in names]


def list_in(store: VectorStore, name: str) -> None:
    chunk = Chunk(name, "f" * 64, 0, "text", metadata={"document": {"chunks": 1}})
    store.upsert("c", [chunk], np.full((1, DIMENSION), 0.5, np.float32))
    store.seal("c")


def test_known_files_are_left_alone_and_open_ones_gone_on_with(
    settings: Settings, ledger: BulkLedger, store: VectorStore, tmp_path: Path
) -> None:
    open_collection(store, settings)
    paths = files(tmp_path, "a.txt", "b.txt", "c.txt", "d.webp")
    first = accept(ledger, store, settings, paths[:2], update=False)
    assert (first.files, first.resumed, first.there, len(first.tasks)) == (2, 0, 0, 1)
    ledger.begin_open("c")
    a, b = (file for file, _ in ledger.begun("c"))
    assert (a.wish["path"], a.bytes) == (str(paths[0]), len("text of a.txt"))
    ledger.finish_many([Ending(a.number, chunks=1)])
    list_in(store, "a.txt")
    second = accept(ledger, store, settings, paths, update=False)
    assert (second.files, second.resumed, second.there) == (2, 1, 1)
    assert second.tasks[0] == first.tasks[0]
    assert [file.name for file in ledger.open_files("c")] == ["b.txt", "c.txt"]
    [failed] = ledger.failures(second.tasks, 10)
    assert (failed.name, "Unsupported file type" in failed.error) == ("d.webp", True)
    third = accept(ledger, store, settings, paths[:2], update=True)
    assert (third.files, third.there) == (1, 0), "a is replaced, b is open already"
    assert b.name not in {file.name for file in ledger.task(third.tasks[-1]).files}


def test_nothing_new_makes_no_task(
    settings: Settings, ledger: BulkLedger, store: VectorStore, tmp_path: Path
) -> None:
    open_collection(store, settings)
    list_in(store, "a.txt")
    done = accept(ledger, store, settings, files(tmp_path, "a.txt"), update=False)
    assert (done.tasks, done.files, done.there, ledger.tasks(5)) == ((), 0, 1, [])


def test_a_collection_of_another_embedder_or_with_a_schema_is_refused(settings: Settings, store: VectorStore) -> None:
    store.create_collection("c", embedder="other", dimension=DIMENSION)
    with pytest.raises(SettingsError, match="was embedded with other"):
        open_collection(store, settings)
    store.create_collection("s", embedder="test/hashing", dimension=DIMENSION,
                            schema=[MetadataField.model_validate({"name": "year", "type": "integer"})])
    with pytest.raises(InvalidRequest, match="without --ray"):
        open_collection(store, settings.model_copy(update={"collection": "s"}))


@pytest.mark.parametrize("changes", [{"chunk_tokens": 100_000}, {"chunk_tokens": 100, "chunk_overlap": 60}])
def test_a_cut_that_the_embedder_would_not_read_is_refused_before_anything_is_accepted(
    changes: dict[str, int], settings: Settings, ledger: BulkLedger, store: VectorStore, tmp_path: Path
) -> None:
    open_collection(store, settings)
    with pytest.raises(SettingsError, match=r"chunk_"):
        accept(ledger, store, settings.model_copy(update=changes), files(tmp_path, "a.txt"), update=False)
    assert ledger.tasks(5) == []


def test_a_cluster_without_a_free_core_is_refused() -> None:
    with pytest.raises(Unavailable, match=r"0\.5 cores free"):
        Pools.of(0.5, one_writer=True)


def test_patience_outlasts_a_short_absence_and_ends() -> None:
    answers: list[Exception | int] = [DependencyDown("away"), DependencyDown("away"), 7]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert patiently_here(ask, 10) == 7

    async def never() -> int:
        raise DependencyDown("away")

    with pytest.raises(DependencyDown):
        asyncio.run(patiently(never, 0.1))

    def replaced() -> int:
        asked.append(1)
        raise WriterChanged("another process has written the ledger")

    asked: list[int] = []
    with pytest.raises(WriterChanged):
        patiently_here(replaced, 10)
    assert len(asked) == 1, "it does not pass"
