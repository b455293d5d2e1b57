"""What a reader sees of what others write: with and without waiting for a Milvus server's next tick."""

from __future__ import annotations

import pytest
from pymilvus import MilvusClient

from stored import HASH, TEXTS, axes, chunks, filled, store
from ullage.store import VectorStore

__all__ = ["filled", "store"]


def test_who_does_not_wait_sees_what_was_told_as_written_or_deleted(store: VectorStore) -> None:
    store.create_collection("c", embedder="m", dimension=8)
    reader = VectorStore(store.uri, waits=False)
    try:
        for number in range(5):
            name = f"{number}.md"
            store.upsert("c", chunks(name), axes())
            store.confirm("c", name, HASH, len(TEXTS))
            found = reader.search_dense("c", axes()[1], 4 * len(TEXTS))
            assert sum(hit.chunk.document == name for hit in found) == len(TEXTS)
            assert reader.count("c", f'document == "{name}"') == len(TEXTS)
            store.delete_document("c", name)
            assert reader.search_dense("c", axes()[1], 4) == []
            assert reader.few("c", "ordinal >= 0", ["document"]) == []
    finally:
        reader.close()


@pytest.mark.parametrize(("waits", "wanted"), [(True, None), (False, "Bounded")])
def test_a_server_is_told_whether_anybody_waits(
    filled: VectorStore, monkeypatch: pytest.MonkeyPatch, waits: bool, wanted: str | None
) -> None:
    told = []

    def told_of(name: str) -> None:
        real = getattr(MilvusClient, name)

        def call(self: MilvusClient, *given: object, **named: object) -> object:
            told.append(named.get("consistency_level"))
            return real(self, *given, **named)

        monkeypatch.setattr(MilvusClient, name, call)

    told_of("search")
    told_of("query")
    reader = VectorStore(filled.uri, waits=waits)
    reader.search_dense("c", axes()[1], 1)
    reader.count("c")
    reader.few("c", "ordinal == 0", ["document"])
    reader.close()
    assert told == [wanted] * 3
