"""Two ranks and a third, by numbers, made one."""

from collections.abc import Sequence

import numpy as np

from ullage.models.lexical import analyze, numbers
from ullage.store import Chunk
from ullage.store.fusion import FoundRow, by_number, fuse
from ullage.store.schema import row_of

TEXTS = ["The bilge pump.", "Ticket readers.", "Passengers may carry bicycles.", "The fire pump."]


def places(rows: Sequence[FoundRow]) -> list[int]:
    return [row.chunk.ordinal for row in rows]


def test_fusion_cuts_and_breaks_ties_the_same_way_every_time() -> None:
    pieces = [Chunk("manual.md", "a" * 64, n, text) for n, text in enumerate(TEXTS)]
    rows = [row_of(piece, np.ones(8), sparse=False) for piece in pieces]
    found = [FoundRow(pieces[n].id, 0.0, {"dense": n + 1}, rows[n]) for n in range(2)]
    found += [FoundRow(pieces[n].id, 0.0, {"lexical": 3 - n}, rows[n]) for n in (2, 1)]
    fused = fuse(found, 2, 60)
    assert places(fused) == [1, min((0, 2), key=lambda n: pieces[n].id)]
    assert places(fuse(found[::-1], 2, 60)) == places(fused)


def test_numbers_that_are_asked_for_count_beside_both_searches() -> None:
    texts = ["Order 4711-B of 14 May.", "No number.", "Order 4711-B, invoice 2024.", "On 14 May."]
    words = [found_row(n, text) for n, text in enumerate(texts)]
    found = by_number("Who placed order 4711-B (invoice 2024) on the 14th?", words)
    assert [hit.ranks.get("number") for hit in found] == [2, None, 1, None]
    assert [hit.row for hit in found] == [hit.row for hit in words]
    assert by_number("Who placed the order of the 14?", words) == words
    nearest = (words[1], words[3], words[0])
    dense = [FoundRow(hit.id, 0.5, {"dense": rank}, hit.row) for rank, hit in enumerate(nearest, start=1)]
    assert fuse([*dense, *found], 1, 60)[0].read().chunk == Chunk("d", "h", 0, texts[0])


def found_row(number: int, text: str) -> FoundRow:
    """As the search by words gives it."""
    chunk = Chunk("d", "h", number, text)
    return FoundRow(chunk.id, 9.0 - number, {"lexical": number + 1}, row_of(chunk, np.ones(8), sparse=False))


def test_a_passage_is_left_unread_only_where_it_cannot_have_the_number() -> None:
    wanted = "Orders 12500, P-101, v1.15 and gb200s?"
    texts = ["12,500 pieces", "a p-101", "P 101", "v1.15", "GB200s", "1,2500", "m² and １２５００", "none", "12 500"]
    words = [found_row(n, text) for n, text in enumerate(texts)]
    named = numbers(analyze(wanted))
    holding = [bool(named & set(analyze(text))) for text in texts]
    assert [("number" in hit.ranks) for hit in by_number(wanted, words)] == holding
    assert sum(holding) > 5
