"""The stages of bulk ingestion, one after the other without Ray: what they give is what the ingestor gives, and
whatever an earlier attempt left in the collection, each document is there once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fastapi import Request
from fastapi.responses import JSONResponse

from hashing import DIMENSION, HashingEmbedder, RunIngest
from hostile import pdf
from ullage.errors import DependencyDown
from ullage.ingest.ray.reading import ReadStage
from ullage.ingest.ray.rows import (
    Asked,
    Document,
    asked_of,
    asked_table,
    documents_of,
    endings_of,
    table_of,
)
from ullage.ingest.ray.run import Pools
from ullage.ingest.ray.storing import EmbedStage, WriteStage
from ullage.settings import Settings
from ullage.store import Chunk, VectorStore
from ullage.store.ledger_bulk import Ending
from ullage.store.schema import TEXT_BYTES

MANUAL = "# Pumps\n\n" + "Serviced every six months by whoever is on the late shift. " * 30




def nothing(settings: Settings) -> None:
    """No keys are needed here."""


@pytest.fixture
def made(embedder: HashingEmbedder, tmp_path: Path, model_cache: Path) -> Settings:
    return Settings.model_validate({"embedding_url": embedder.url, "vectors_uri": str(tmp_path / "ray.db"),
                                    "cache_dir": model_cache, "request_timeout_s": 0.6})


@contextmanager
def database(settings: Settings) -> Iterator[VectorStore]:
    store = VectorStore(settings.vectors_uri)
    try:
        store.create_collection("c", embedder="test/hashing", dimension=DIMENSION)
        yield store
    finally:
        store.close()


def read(settings: Settings, *paths: Path, tokens: int = 60) -> list[Document]:
    stage = ReadStage(settings, nothing)
    try:
        asked = [Asked(n, path.name, str(path), tokens, 10) for n, path in enumerate(paths)]
        return [document for table in stage(asked_table(asked)) for document in documents_of(table)]
    finally:
        stage.close()


def embed(settings: Settings, documents: list[Document]) -> list[Document]:
    stage = EmbedStage(settings, nothing)
    try:
        return documents_of(stage(table_of(documents)))
    finally:
        stage.close()


def write(settings: Settings, documents: list[Document]) -> list[Ending]:
    stage = WriteStage(settings, nothing, "c")
    try:
        return endings_of(stage(table_of(documents)))
    finally:
        stage.close()


def ingest_all(settings: Settings, *paths: Path, tokens: int = 60) -> list[Ending]:
    return write(settings, embed(settings, read(settings, *paths, tokens=tokens)))


def put(folder: Path, **files: str | bytes) -> list[Path]:
    paths = []
    for name, content in files.items():
        path = folder / name.replace("_", ".")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(path)
    return paths


def held(store: VectorStore) -> dict[str, int]:
    """Passages by document, of all rows."""
    counted: dict[str, int] = {}
    for chunks, _ in store.everything("c"):
        for chunk in chunks:
            counted[chunk.document] = counted.get(chunk.document, 0) + 1
    return counted


async def test_documents_are_stored_as_the_ingestor_stores_them(
    ingest: RunIngest, made: Settings, tmp_path: Path
) -> None:
    paths = put(tmp_path, a_md=MANUAL, b_pdf=pdf(), c_txt="One line only.")
    async with ingest(chunk_tokens=60, chunk_overlap=10, thumbnail_pixels=0) as client:
        await client.post("/collection", json={"collection_name": "c"})
        parts = [("documents", (path.name, path.read_bytes())) for path in paths]
        await client.post("/documents", files=parts, data={"data": json.dumps({"blocking": True})})
    with database(made) as mine:
        endings = await asyncio.to_thread(ingest_all, made, *paths)
        theirs = VectorStore(str(tmp_path / "vectors.db"))
        try:
            for path, ending in zip(paths, endings, strict=True):
                ours, expected = mine.chunks("c", path.name), theirs.chunks("c", path.name)
                assert (ending.error, ending.chunks, len(ours[0])) == ("", len(expected[0]), len(expected[0]))
                assert all(chunk.created_s > 0 for chunk in ours[0])
                assert [replace(c, created_s=0) for c in ours[0]] == [replace(c, created_s=0) for c in expected[0]]
                np.testing.assert_allclose(ours[1], expected[1], atol=1e-6)
        finally:
            theirs.close()
    assert endings[0].chunks > 1


def test_a_file_that_cannot_be_read_does_not_keep_the_others(made: Settings, tmp_path: Path) -> None:
    paths = [*put(tmp_path, a_txt="Fine.", empty_txt=b"", broken_pdf=b"%PDF-1.7 not really"), tmp_path / "none.txt",
             *put(tmp_path, z_txt="Fine too.")]
    with database(made) as store:
        endings = ingest_all(made, *paths)
        assert [bool(ending.error) for ending in endings] == [False, True, True, True, False]
        assert [ending.number for ending in endings] == [0, 1, 2, 3, 4]
        assert "none.txt" in endings[3].error
        assert "every node" in endings[3].error
        assert held(store) == {"a.txt": 1, "z.txt": 1}


def test_an_attempt_that_is_repeated_changes_nothing(made: Settings, tmp_path: Path) -> None:
    paths = put(tmp_path, a_md=MANUAL, b_txt="Other words.")
    documents = embed(made, read(made, *paths))
    with database(made) as store:
        first = write(made, documents)
        assert write(made, documents) == first
        assert write(made, documents[1:]) == first[1:]
        assert held(store) == {ending_name(paths, e): e.chunks for e in first}


def ending_name(paths: list[Path], ending: Ending) -> str:
    return paths[ending.number].name


def test_what_an_older_content_and_another_cut_left_goes(made: Settings, tmp_path: Path) -> None:
    [path] = put(tmp_path, a_md=MANUAL)
    with database(made) as store:
        ingest_all(made, path, tokens=60)
        [other_cut] = ingest_all(made, path, tokens=200)
        assert held(store) == {"a.md": other_cut.chunks}
        assert 1 <= other_cut.chunks < 5
        half = embed(made, read(made, *put(tmp_path, a_md=MANUAL + "It was longer once.")))
        store.upsert("c", half[0].chunks[1:], half[0].vectors[1:])
        assert len(held(store)) == 1
        [last] = ingest_all(made, *put(tmp_path, a_md="Short now."))
        assert held(store) == {"a.md": 1}
        assert store.documents("c")[0].content_hash == last.sha256


def test_a_document_is_listed_only_when_all_of_it_is_there(made: Settings, tmp_path: Path, monkeypatch) -> None:
    documents = embed(made, read(made, *put(tmp_path, a_md=MANUAL, b_md=MANUAL + "b")))
    written: list[list[int]] = []
    plain = VectorStore.upsert

    def noted(store: VectorStore, collection: str, chunks: list[Chunk], vectors: np.ndarray) -> None:
        written.append([chunk.ordinal for chunk in chunks])
        plain(store, collection, chunks, vectors)

    monkeypatch.setattr(VectorStore, "upsert", noted)
    with database(made):
        write(made, documents)
    assert [0 in ordinals for ordinals in written] == [False, True]
    assert written[1] == [0, 0]


def test_one_document_that_the_database_refuses_goes_alone(made: Settings) -> None:
    documents = [whole(0, "a.txt", "fine"), whole(1, "long.txt", "x" * (TEXT_BYTES + 1)), whole(2, "c.txt", "fine too")]
    with database(made) as store:
        endings = write(made, documents)
        assert [bool(ending.error) for ending in endings] == [False, True, False]
        assert "long.txt" in endings[1].error
        assert held(store) == {"a.txt": 1, "c.txt": 1}


def whole(number: int, name: str, text: str) -> Document:
    sha256 = f"{number:064x}"
    chunk = Chunk(name, sha256, 0, text, metadata={"document": {"chunks": 1}})
    return Document(number, name, sha256, chunks=(chunk,), vectors=np.full((1, DIMENSION), 0.5, np.float32))


def test_one_document_that_the_embedder_refuses_goes_alone(embedder: HashingEmbedder, made: Settings) -> None:
    plain = embedder._embed

    async def picky(request: Request) -> JSONResponse:
        if any("poison" in text for text in (await request.json())["input"]):
            return JSONResponse({"message": "not this one"}, 422)
        return await plain(request)

    for route in embedder.app.router.routes:
        if getattr(route, "path", "") == "/v1/embeddings":
            embedder.app.router.routes.remove(route)
    embedder.app.post("/v1/embeddings")(picky)
    documents = [whole(0, "a.txt", "fine"), whole(1, "b.txt", "poison"), whole(2, "c.txt", "fine too")]
    found = embed(made, documents)
    assert [document.error for document in found if document.error] == [found[1].error]
    assert "not this one" in found[1].error
    assert (found[0].vectors.shape, found[2].vectors.shape) == ((1, DIMENSION), (1, DIMENSION))


def test_an_embedder_that_stays_away_is_no_fault_of_a_document(embedder: HashingEmbedder, made: Settings) -> None:
    embedder.down = True
    with pytest.raises(DependencyDown):
        embed(made, [whole(0, "a.txt", "fine")])


def test_rows_are_the_same_after_a_way_through_arrow() -> None:
    asked = [Asked(7, "ä.txt", "/there/ä.txt", 60, 10)]
    assert asked_of(asked_table(asked)) == asked
    chunks = (Chunk("a.md", "f" * 64, 0, "One", 1, ("H1", "H2"), "table", 1.5, {"n": [1, {"k": None}]}),
              Chunk("a.md", "f" * 64, 1, "Two"))
    said = Document(1, "a.md", "f" * 64, warnings=("page 2 has no text",), chunks=chunks,
                    vectors=np.eye(2, DIMENSION, dtype=np.float32))
    [back, empty] = documents_of(table_of([said, Document(2, "b.md", error="broken")]))
    assert back.chunks == said.chunks
    assert back.ending == said.ending
    np.testing.assert_array_equal(back.vectors, said.vectors)
    assert (empty.error, empty.chunks, empty.vectors.size) == ("broken", (), 0)


@pytest.mark.parametrize("cpus", [1, 1.5, 2, 3, 8, 64, 400])
@pytest.mark.parametrize("one_writer", [True, False])
def test_pools_fit_into_the_cores_there_are(cpus: float, one_writer: bool) -> None:
    pools = Pools.of(cpus, one_writer=one_writer)
    assert min(pools.readers, pools.embedders, pools.writers) >= 1
    assert pools.reader_cpus * pools.readers + 0.25 * (pools.embedders + pools.writers) <= cpus
    assert pools.writers == 1 or not one_writer
    assert pools.readers >= cpus / 2 - 1
