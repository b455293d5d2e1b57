"""The vector store on a real Milvus Lite in this process; on the Milvus server that ULLAGE_TEST_MILVUS names, if it
does."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from stored import HASH, axes, chunks, filled, store
from ullage.errors import Cancelled, DependencyDown, DocumentRefused, InvalidRequest, NotFound, SettingsError
from ullage.store import Chunk, Hit, VectorStore, chunk_id
from ullage.store.milvus import PINGS, Abilities

__all__ = ["filled", "store"]


def needs_words(store: VectorStore) -> None:
    if not store.abilities().sparse:
        pytest.skip(f"{store.abilities().version} has no sparse vectors")


def ordinals(hits: Sequence[Hit]) -> list[int]:
    return [hit.chunk.ordinal for hit in hits]


def test_what_was_written_is_found_whole(filled: VectorStore) -> None:
    hit = filled.search_dense("c", axes()[1], 4)[0]
    assert hit.chunk == chunks()[1]
    assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert hit.ranks == {"dense": 1}


def test_lexical_search_stems_and_reads_identifiers(filled: VectorStore) -> None:
    needs_words(filled)
    assert sorted(ordinals(filled.search_lexical("c", "pumps", 4))) == [0, 3]
    assert ordinals(filled.search_lexical("c", "what about P-101?", 4)) == [0]
    assert filled.search_lexical("c", "of the", 4) == []
    assert filled.search_lexical("c", "zebra", 4) == []


def test_hybrid_is_the_fusion_of_both_ranks(filled: VectorStore) -> None:
    needs_words(filled)
    hits = filled.search_hybrid("c", "pump", axes()[3], 4)
    assert hits[0].chunk.ordinal == 3
    lexical = ordinals(filled.search_lexical("c", "pump", 4)).index(3) + 1
    assert hits[0].ranks == {"dense": 1, "lexical": lexical}
    assert hits[0].score == pytest.approx(1 / 61 + 1 / (60 + lexical))


def test_writing_twice_leaves_one(filled: VectorStore) -> None:
    filled.upsert("c", chunks(), axes())
    filled.confirm("c", "manual.md", HASH, 4)
    filled.upsert("c", chunks(), axes())
    assert filled.count("c") == 4
    assert len(filled.search_dense("c", axes()[0], 10)) == 4
    if filled.abilities().sparse:
        assert len(filled.search_lexical("c", "pump", 10)) == 2


def test_sealing_changes_no_score(filled: VectorStore) -> None:
    needs_words(filled)
    before = [(h.chunk.ordinal, round(h.score, 5)) for h in filled.search_lexical("c", "pump serviced weekly", 4)]
    filled.confirm("c", "manual.md", HASH, 4)
    filled.upsert("c", chunks("other.md", "b" * 64, ["nothing here"]), axes(1))
    filled.confirm("c", "other.md", "b" * 64, 1)
    after = [(h.chunk.ordinal, round(h.score, 5)) for h in filled.search_lexical("c", "pump serviced weekly", 4)]
    assert after == before


def test_reopening_keeps_everything(filled: VectorStore) -> None:
    filled.close()
    again = VectorStore(filled.uri)
    assert ordinals(again.search_dense("c", axes()[2], 1)) == [2]
    assert again.collection("c").info == {"owner": "me"}
    again.close()


def test_documents_and_their_deletion(filled: VectorStore) -> None:
    name = 'we"ird \\ \'näme\'.md'
    filled.upsert("c", chunks(name, "b" * 64, ["one", "two"]), axes(2))
    listed = {record.name: record for record in filled.documents("c")}
    assert set(listed) == {"manual.md", name}
    assert (listed[name].chunks, listed[name].content_hash) == (2, "b" * 64)
    assert listed[name].metadata == {"nested": {"x": [1, "ü"]}}
    assert filled.delete_document("c", name) == 2
    assert [record.name for record in filled.documents("c")] == ["manual.md"]
    assert filled.delete_document("c", name) == 0


def test_one_content_of_a_document_can_go(filled: VectorStore) -> None:
    filled.upsert("c", chunks("manual.md", "b" * 64, ["new text"]), axes(1))
    assert filled.delete_document("c", "manual.md", keep_hash="b" * 64) == 4
    assert [record.content_hash for record in filled.documents("c")] == ["b" * 64]
    assert filled.delete_document("c", "manual.md", only_hash=HASH) == 0
    assert filled.count("c") == 1


@pytest.mark.parametrize("at_once", [1000, 4])
def test_confirming_tells_what_of_other_contents_is_left(
    filled: VectorStore, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("ullage.store.rows.ROWS_PER_READ", at_once)
    monkeypatch.setattr("ullage.store.vectors.ROWS_PER_READ", at_once)
    filled.upsert("c", chunks("manual.md", "b" * 64, ["new text"]), axes(1))
    assert filled.confirm("c", "manual.md", "b" * 64, 1) == 4
    filled.delete_document("c", "manual.md", keep_hash="b" * 64)
    assert filled.confirm("c", "manual.md", "b" * 64, 1) == 0


def test_a_document_without_its_first_chunk_is_not_listed(filled: VectorStore) -> None:
    filled.upsert("c", chunks("half.md", "b" * 64)[1:], axes(3))
    assert [record.name for record in filled.documents("c")] == ["manual.md"]
    assert filled.with_content("c", "b" * 64) is None
    with pytest.raises(DependencyDown, match=r"shows 3 of 4 chunks of half\.md"):
        filled.confirm("c", "half.md", "b" * 64, 4)
    filled.confirm("c", "manual.md", HASH, 4)


def test_chunks_of_a_document_come_in_order_with_vectors(filled: VectorStore) -> None:
    found, vectors = filled.chunks("c", "manual.md")
    assert found == chunks()
    np.testing.assert_array_equal(vectors, axes())


def test_same_bytes_under_two_names_are_two_documents() -> None:
    assert chunk_id(HASH, "a.md", 0) != chunk_id(HASH, "b.md", 0)
    assert chunk_id(HASH, "a.md", 0) == chunks("a.md")[0].id
    assert len(chunk_id(HASH, "a.md", 0)) == 64


def test_collections(filled: VectorStore) -> None:
    assert not filled.create_collection("c", embedder="other", dimension=3)
    assert filled.create_collection("b", embedder="m2", dimension=3)
    assert [(r.name, r.embedder, r.dimension, r.chunks) for r in filled.collections()] == [
        ("b", "m2", 3, 0), ("c", "m", 8, 4)
    ]
    filled.drop("b")
    assert not filled.has("b")
    assert filled.ping() == 1


def test_a_missing_collection_is_named(store: VectorStore) -> None:
    words = [lambda: store.search_lexical("gone", "pump", 3)] if store.abilities().sparse else []
    for act in (
        *words,
        lambda: store.search_dense("gone", axes()[0], 3),
        lambda: store.documents("gone"),
        lambda: store.drop("gone"),
        lambda: store.collection("gone"),
        lambda: store.upsert("gone", chunks(), axes()),
    ):
        with pytest.raises(NotFound, match=r"^Collection gone does not exist\. Ensure a collection is created using "):
            act()


def test_another_embedder_is_refused_with_the_remedy(filled: VectorStore) -> None:
    filled.check_embedder("c", embedder="m", dimension=8)
    with pytest.raises(SettingsError, match=r"embedded with m \(8 dimensions\).*set embedding_model=m"):
        filled.check_embedder("c", embedder="m2", dimension=8)
    with pytest.raises(SettingsError, match="holds vectors of 8 dimensions made by m, the query has 3"):
        filled.search_dense("c", np.ones(3, np.float32), 2)


def test_refusals_are_one_line(filled: VectorStore) -> None:
    with pytest.raises(DocumentRefused, match="text of chunk 0 has 70000 bytes, 65535 at most"):
        filled.upsert("c", chunks(texts=["x" * 70_000]), axes(1))
    with pytest.raises(InvalidRequest) as caught:
        filled.create_collection("not a name!", embedder="m", dimension=8)
    assert "\n" not in str(caught.value)


def test_one_seal_serves_all_who_asked_before_it(filled: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    seals: list[str] = []
    monkeypatch.setattr(filled, "_seal", seals.append)
    filled._writes.acquire()
    threads = [threading.Thread(target=filled.seal, args=("c",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    while filled._seals.ask("other") and filled._seals._asked["c"] < 5:
        pass
    filled._writes.release()
    for thread in threads:
        thread.join()
    assert seals == ["c"]
    filled.seal("c")
    assert seals == ["c", "c"]


def test_documents_by_name(filled: VectorStore) -> None:
    filled.upsert("c", chunks("other.md", "b" * 64, ["one", "two"]), axes(2))
    assert [record.name for record in filled.documents("c", ["other.md", "nobody.md"])] == ["other.md"]
    assert filled.documents("c", []) == []
    many = [f"{n}.md" for n in range(250)]
    assert [record.name for record in filled.documents("c", [*many, "manual.md"])] == ["manual.md"]


def test_what_is_said_of_a_collection_and_a_document_can_change(filled: VectorStore) -> None:
    filled.set_info("c", {"owner": "you", "text": 'quo"te ü'})
    record = filled.collection("c")
    assert (record.info, record.embedder, record.chunks) == ({"owner": "you", "text": 'quo"te ü'}, "m", 4)
    changed = filled.describe_document("c", "manual.md", {"description": "new"})
    assert changed.info == {"chunks": 4, "description": "new"}
    found, vectors = filled.chunks("c", "manual.md")
    assert found[1:] == chunks()[1:]
    np.testing.assert_array_equal(vectors, axes())
    with pytest.raises(NotFound, match=r"Document gone\.md does not exist"):
        filled.describe_document("c", "gone.md", {})
    with pytest.raises(NotFound):
        filled.set_info("gone", {})


def test_who_writes_on_after_a_withdrawal_is_stopped(filled: VectorStore) -> None:
    filled.withdraw("c", "manual.md", HASH)
    assert filled.count("c") == 0
    with pytest.raises(Cancelled, match=r"manual\.md was withdrawn"):
        filled.upsert("c", chunks(), axes())
    filled.upsert("c", chunks("manual.md", "b" * 64), axes())
    filled.admit("c", "manual.md", HASH)
    filled.upsert("c", chunks(), axes())
    assert filled.count("c") == 8


def test_one_deletion_serves_all_who_withdrew_before_it(filled: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{n}.md" for n in range(60)]
    for number, name in enumerate(names):
        filled.upsert("c", chunks(name, f"{number:064d}"), axes())
    deletions: list[str] = []
    delete = filled._delete

    def counted(collection: str, wanted: str) -> int:
        deletions.append(wanted)
        return delete(collection, wanted)

    monkeypatch.setattr(filled, "_delete", counted)
    filled._writes.acquire()
    threads = [threading.Thread(target=filled.withdraw, args=("c", name, f"{number:064d}"))
               for number, name in enumerate(names)]
    for thread in threads:
        thread.start()
    while filled._withdrawals._asked["c"] < len(names):
        pass
    filled._writes.release()
    for thread in threads:
        thread.join()
    assert [record.name for record in filled.documents("c")] == ["manual.md"]
    assert filled.count("c") == 4
    assert len(deletions) == 2
    with pytest.raises(Cancelled, match=r"7\.md was withdrawn"):
        filled.upsert("c", chunks("7.md", f"{7:064d}"), axes())


def test_what_could_not_be_deleted_is_deleted_with_the_next(
    filled: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.upsert("c", chunks("a.md", "b" * 64), axes())

    def away(*_: object) -> int:
        raise DependencyDown("away")

    with monkeypatch.context() as patch:
        patch.setattr(filled, "_delete", away)
        with pytest.raises(DependencyDown):
            filled.withdraw("c", "a.md", "b" * 64)
    filled.withdraw("c", "manual.md", HASH)
    assert filled.count("c") == 0


def test_the_server_is_not_pinged_more_often_than_it_allows(filled: VectorStore) -> None:
    given = filled._connection._open()._handler._grpc_options
    assert given.items() >= PINGS.items()
    assert given["grpc.keepalive_time_ms"] > 300_000


def test_every_place_is_told_once(filled: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ullage.store.rows.PLACES_PER_READ", 3)
    filled.upsert("c", chunks("other.md", "b" * 64, ["one", "two"]), axes(2))
    wanted = [("manual.md", HASH, n) for n in range(4)] + [("other.md", "b" * 64, n) for n in range(2)]
    assert sorted(filled.places("c")) == sorted(wanted)


def test_everything_is_read_once(filled: VectorStore) -> None:
    texts = [f"text {n}" for n in range(600)]
    filled.upsert("c", chunks("long.md", "b" * 64, texts), np.ones((600, 8), np.float32))
    parts = list(filled.everything("c"))
    found = [chunk for part, _ in parts for chunk in part]
    assert len(found) == len({chunk.id for chunk in found}) == 604
    assert max(len(part) for part, _ in parts) <= 256


def test_a_database_without_sparse_vectors_says_so_in_one_line(
    filled: VectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if filled.abilities().sparse:
        old = Abilities("v2.3.5-lite", lite=False, sparse=False)
        monkeypatch.setattr(filled, "abilities", lambda: old)
    said = (r"^the Milvus server at .* \(v2\.3\.5-lite\) has no sparse vectors, so there is no lexical search \(BM25\),"
            r" only the dense one: use a server from 2\.4 on, or Milvus Lite$")
    with pytest.raises(SettingsError, match=said):
        filled.search_lexical("c", "pump", 3)
    hits = filled.search_hybrid("c", "pump", axes()[3], 4)
    assert hits[0].chunk.ordinal == 3
    assert hits[0].ranks == {"dense": 1}


def test_a_long_heading_path_is_cut_from_the_inside(filled: VectorStore) -> None:
    deep = Chunk("deep.md", "d" * 64, 0, "text", path=tuple(f"{n} {'h' * 900}" for n in range(9)))
    filled.upsert("c", [deep], axes(1))
    found, _ = filled.chunks("c", "deep.md")
    assert found[0].path == deep.path[:4]


def test_what_is_confirmed_stays_in_sight_while_more_is_written(filled: VectorStore) -> None:
    """Lite shows unsealed rows to nobody for the moment in which it seals them."""
    filled.confirm("c", "manual.md", HASH, 4)
    confirmed, over = 4, threading.Event()
    short: list[tuple[int, int]] = []

    def read() -> None:
        while not over.is_set():
            least = confirmed
            seen = len(filled.search_dense("c", axes()[0], 400))
            if seen < least:
                short.append((seen, least))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(30):
        filled.upsert("c", chunks(f"r{number}.md", f"{number:064x}"), axes())
        filled.confirm("c", f"r{number}.md", f"{number:064x}", 4)
        confirmed += 4
    over.set()
    for reader in readers:
        reader.join()
    assert short == []


def test_writes_from_many_threads_lose_nothing(filled: VectorStore) -> None:
    def write(number: int) -> None:
        pieces = chunks(f"t{number}.md", f"{number:064x}", [f"text {number} {n}" for n in range(20)])
        filled.upsert("c", pieces, np.ones((20, 8), np.float32))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert filled.count("c") == 4 + 6 * 20
