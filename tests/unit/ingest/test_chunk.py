"""Passages that fit, overlap, and never cut a row."""

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ullage.ingest import Block, Document, Page, read
from ullage.ingest.chunk import Piece, chunk
from ullage.ingest.document import one_line, table_block
from ullage.ingest.sentences import sentences
from ullage.models.card import find_card
from ullage.models.files import pull
from ullage.models.tokenize import Tokenizer
from ullage.settings import Settings

HANDBOOK = Path(__file__).parents[3] / "samples" / "handbook"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    card = find_card("all-MiniLM-L6-v2", "embedding")
    return Tokenizer(pull(card, Settings().cache_dir)["tokenizer"])


def document(*blocks: Block) -> Document:
    return Document("a.md", (Page(1, blocks),))


def cut(tokenizer: Tokenizer, doc: Document, size: int = 40, overlap: int = 10) -> list[Piece]:
    return chunk(doc, tokenizer, chunk_tokens=size, chunk_overlap=overlap)


def prose(count: int) -> str:
    return " ".join(f"Sentence number {n} speaks of pump {n}." for n in range(count))


def test_passages_fit_and_share_whole_sentences(tokenizer: Tokenizer) -> None:
    pieces = cut(tokenizer, document(Block("paragraph", prose(12))), 40, 12)
    assert len(pieces) >= 3
    assert all(tokenizer.count(piece.text) <= 40 for piece in pieces)
    for left, right in itertools.pairwise(pieces):
        shared = sentences(left.text)[-1]
        assert right.text.startswith(shared)
    assert [piece.ordinal for piece in pieces] == list(range(len(pieces)))


def test_no_overlap_when_none_is_wanted(tokenizer: Tokenizer) -> None:
    pieces = cut(tokenizer, document(Block("paragraph", prose(12))), 40, 0)
    assert " ".join(piece.text for piece in pieces) == prose(12)


def test_headings_stand_above_and_part_passages(tokenizer: Tokenizer) -> None:
    pieces = cut(tokenizer, document(
        Block("heading", "Pumps", 1, ("Pumps",)),
        Block("heading", "Service", 2, ("Pumps", "Service")),
        Block("paragraph", "Every week.", path=("Pumps", "Service")),
        Block("heading", "Valves", 1, ("Valves",)),
        Block("paragraph", "Never.", path=("Valves",)),
        Block("heading", "Nothing below", 1, ("Nothing below",)),
    ))
    assert [(piece.text, piece.path) for piece in pieces] == [
        ("Pumps > Service\nEvery week.", ("Pumps", "Service")),
        ("Valves\nNever.", ("Valves",)),
        ("Nothing below", ()),
    ]


def test_a_row_is_never_cut_nor_repeated(tokenizer: Tokenizer) -> None:
    rows = [["Pump", "Flow", "Interval"], *[[f"P-{n}", f"{n} m3/h", f"{n} months"] for n in range(100, 112)]]
    table = table_block(rows, ("Pumps",), "Table 1: Intervals")
    assert table is not None
    pieces = cut(tokenizer, document(table), 60, 20)
    assert all(piece.text.startswith("Pumps\nTable 1: Intervals\n") for piece in pieces)
    assert [line for piece in pieces for line in piece.text.splitlines()[2:]] == list(table.items)
    assert all(tokenizer.count(piece.text) <= 60 for piece in pieces)
    assert {piece.kinds for piece in pieces} == {("table",)}


def test_pages_are_kept_apart(tokenizer: Tokenizer) -> None:
    doc = Document("a.pdf", (
        Page(1, (Block("paragraph", "One."),)), Page(2, ()), Page(3, (Block("paragraph", "Three."),))
    ))
    assert [(piece.page, piece.text) for piece in cut(tokenizer, doc)] == [(1, "One."), (3, "Three.")]


def test_a_sentence_longer_than_a_passage_is_cut_and_complete(tokenizer: Tokenizer) -> None:
    text = " ".join(f"word{n}" for n in range(200))
    pieces = cut(tokenizer, document(Block("paragraph", text)), 32, 8)
    assert all(tokenizer.count(piece.text) <= 32 for piece in pieces)
    assert "".join(piece.text for piece in pieces).replace(" ", "") == text.replace(" ", "")


def test_a_long_heading_path_leaves_room_for_text(tokenizer: Tokenizer) -> None:
    path = ("A very long outer heading about all kinds of pumps and valves", "Inner")
    [piece, *_] = cut(tokenizer, document(Block("paragraph", "Text.", path=path)), 24)
    assert piece.text == "Inner\nText."
    assert piece.path == path


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=300), max_size=6), st.integers(16, 80))
def test_any_text_fits_and_nothing_is_lost(tokenizer: Tokenizer, texts: list[str], size: int) -> None:
    blocks = [Block("paragraph", text) for text in texts]
    pieces = cut(tokenizer, document(*blocks), size, 0)
    assert all(tokenizer.count(piece.text) <= size for piece in pieces)
    kept = "".join("".join(piece.text.split()) for piece in pieces)
    said = (one_line(sentence) for text in texts for sentence in sentences(text))
    assert kept == "".join("".join(text.split()) for text in said if tokenizer.count(text))


@pytest.mark.parametrize("name", sorted(p.name for p in HANDBOOK.iterdir() if "scan" not in p.name))
@pytest.mark.parametrize("size", [64, 200])
def test_the_handbook_fits(tokenizer: Tokenizer, name: str, size: int) -> None:
    pieces = cut(tokenizer, read(HANDBOOK / name), size, size // 5)
    assert len(pieces) > 10
    assert max(tokenizer.count(piece.text) for piece in pieces) <= size


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It costs 4.5 bar. It holds.", ["It costs 4.5 bar.", "It holds."]),
        ("See Fig. 3 and No. 4 there. Next.", ["See Fig. 3 and No. 4 there.", "Next."]),
        ("Mr. A. Smith came. He left.", ["Mr. A. Smith came.", "He left."]),
        ('He said "stop." Then he ran.', ['He said "stop."', "Then he ran."]),
        ("first line\nsecond line", ["first line", "second line"]),
        ("no end", ["no end"]),
        ("", []),
        ("一。二。", ["一。", "二。"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected
