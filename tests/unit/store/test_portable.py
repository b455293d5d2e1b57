"""Collections carried from one database to another."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ullage.errors import InvalidRequest, NotFound
from ullage.store import Chunk, MetadataField, VectorStore, export_collection, import_collection
from ullage.store.portable import PASSAGES, RECORD

SCHEMA = (MetadataField(name="site", type="string"),)
ROWS = 700


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VectorStore]:
    store = VectorStore(str(tmp_path / "vectors.db"))
    store.create_collection("c", embedder="m", dimension=8, info={"owner": "me"}, schema=SCHEMA)
    chunks = [Chunk("d.md", "a" * 64, n, f"pump {n} ü", page=n + 1, path=("Top",), created_s=7.5,
                    metadata={"site": "yard", **({"document": {"chunks": ROWS}} if n == 0 else {})})
              for n in range(ROWS)]
    store.upsert("c", chunks, np.random.default_rng(0).standard_normal((ROWS, 8)).astype(np.float32))
    yield store
    store.close()


def test_a_collection_comes_back_whole(store: VectorStore, tmp_path: Path) -> None:
    path = tmp_path / "c.ullage"
    heard: list[tuple[int, int]] = []
    assert export_collection(store, "c", path, lambda *told: heard.append(told)) == ROWS
    assert heard[-1] == (ROWS, ROWS)
    assert [file.name for file in tmp_path.glob("*c.ullage*")] == ["c.ullage"]
    record = import_collection(store, path, "copy")
    assert (record.embedder, record.dimension, record.info, record.schema) == ("m", 8, {"owner": "me"}, SCHEMA)
    assert store.collection("copy").chunks == ROWS
    for mine, theirs in zip(store.chunks("c", "d.md"), store.chunks("copy", "d.md"), strict=True):
        assert np.array_equal(mine, theirs) if isinstance(mine, np.ndarray) else mine == theirs
    [hit] = store.search_lexical("copy", "pump 7", 1, filter='content_metadata["page_number"] == 8')
    assert hit.chunk.ordinal == 7
    store.check_embedder("copy", embedder="m", dimension=8)


def test_names_that_are_taken_or_not_there(store: VectorStore, tmp_path: Path) -> None:
    path = tmp_path / "c.ullage"
    export_collection(store, "c", path)
    with pytest.raises(InvalidRequest, match="Collection c already exists: give another name"):
        import_collection(store, path)
    assert store.collection("c").chunks == ROWS
    store.drop("c")
    assert import_collection(store, path).name == "c"
    with pytest.raises(NotFound):
        export_collection(store, "gone", tmp_path / "gone.ullage")
    assert not (tmp_path / "gone.ullage").exists()


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        ("no zip", "cannot be imported"),
        ("no record", "is no whole export"),
        ("other format", "format 'x', not ullage-collection-1"),
        ("short", "says 700 passages and holds 699"),
        ("garbled", "line 700 of passages.jsonl is broken"),
        ("dimension", "line 1 has a vector of 4 dimensions, not 8"),
    ],
)
def test_what_is_no_whole_export_leaves_nothing(store: VectorStore, tmp_path: Path, harm: str, fault: str) -> None:
    path, broken = tmp_path / "c.ullage", tmp_path / "broken.ullage"
    export_collection(store, "c", path)
    with zipfile.ZipFile(path) as archive:
        lines, said = archive.read(PASSAGES).splitlines(keepends=True), json.loads(archive.read(RECORD))
    if harm == "short":
        lines = lines[:-1]
    if harm == "garbled":
        lines[-1] = lines[-1][: len(lines[-1]) // 2]
    if harm == "dimension":
        first = json.loads(lines[0])
        lines[0] = json.dumps({**first, "vector": first["vector"][:20] + "Aw=="}).encode() + b"\n"
    if harm == "other format":
        said["format"] = "x"
    with zipfile.ZipFile(broken, "w") as archive:
        archive.writestr(PASSAGES, b"".join(lines))
        if harm != "no record":
            archive.writestr(RECORD, json.dumps(said))
    if harm == "no zip":
        broken.write_bytes(b"nothing")
    with pytest.raises(InvalidRequest, match=fault):
        import_collection(store, broken, "copy")
    assert not store.has("copy")
