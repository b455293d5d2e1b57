"""Filters: what is understood, what is refused and where, and that both say the same of stored passages."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.errors import InvalidRequest
from ullage.store import Chunk, VectorStore
from ullage.store.filter_grammar import parse_filter
from ullage.store.filters import fields_of, filter_expression
from ullage.store.metadata import MetadataField, normalised

FIELDS = (
    MetadataField(name="site", type="string"),
    MetadataField(name="when", type="datetime"),
    MetadataField(name="n", type="integer"),
    MetadataField(name="share", type="float"),
    MetadataField(name="open", type="boolean"),
    MetadataField(name="tags", type="array", array_type="string"),
    MetadataField(name="sizes", type="array", array_type="integer"),
)
ROWS = {
    "a.md": {"site": "Yard", "when": "2024-01-02", "n": 3, "share": 0.5, "open": True, "tags": ["Red", "blue"],
             "sizes": [1, 2, 3]},
    "B.md": {"site": 'we"ird \\ \'ü%_', "when": "2024-06-01T12:00:00+02:00", "n": 7, "share": -2, "open": "off",
             "tags": ["blue"], "sizes": []},
    "c.md": {"site": "yard north", "n": 0},
    "d.md": {},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VectorStore]:
    store = VectorStore(os.environ.get("ULLAGE_TEST_MILVUS") or str(tmp_path_factory.mktemp("filters") / "v.db"))
    for record in store.collections():
        store.drop(record.name)
    fill(store)
    yield store
    store.close()


def fill(store: VectorStore) -> None:
    store.create_collection("c", embedder="m", dimension=8, schema=FIELDS)
    for number, (name, said) in enumerate(ROWS.items()):
        kept, faults = normalised(FIELDS, said)
        assert faults == []
        chunk = Chunk(name, f"{number:064x}", 0, f"pump {number}", page=number + 1, metadata={"filename": name, **kept})
        store.upsert("c", [chunk], np.eye(8, dtype=np.float32)[number : number + 1])


MATCHES = [
    ('content_metadata["site"] == "YARD "', "a"),
    ('content_metadata["site"] = "yard"', "a"),
    ('content_metadata["site"] != "yard"', "Bc"),
    ('not content_metadata["site"] == "yard"', "Bc"),
    ("content_metadata['site'] like 'yard%'", "ac"),
    ('not (content_metadata["site"] like "yard%")', "B"),
    ('content_metadata["site"] in ["yard", "yard north"]', "ac"),
    ('content_metadata["site"] not in ["yard"]', "Bc"),
    ('content_metadata["site"] == "we\\"ird \\\\ \'ü%_"', "B"),
    ('content_metadata["when"] after "2024-01-02T00:00:00Z"', "B"),
    ('content_metadata["when"] before "2024-06-01T10:00:01+00:00"', "aB"),
    ('content_metadata["when"] between "2024-06-01T10:00:00Z" and "2025-01-01"', "B"),
    ('content_metadata["n"] > 2', "aB"),
    ('not content_metadata["n"] > 2', "c"),
    ('content_metadata["n"] between 0 and 3', "ac"),
    ('content_metadata["n"] in [0, 7]', "Bc"),
    ('not (content_metadata["n"] between 0 and 3)', "B"),
    ('content_metadata["share"] < -1.5', "B"),
    ('content_metadata["open"] == true', "a"),
    ('content_metadata["open"] != True', "B"),
    ('content_metadata["tags"] includes "RED"', "a"),
    ('content_metadata["tags"] does not include "red"', "B"),
    ('"blue" in content_metadata["tags"]', "aB"),
    ('array_contains(content_metadata["sizes"], 2)', "a"),
    ('array_contains_all(content_metadata["tags"], ["red", "blue"])', "a"),
    ('not array_contains_all(content_metadata["tags"], ["red", "blue"])', "B"),
    ('array_contains_any(content_metadata["tags"], ["red", "green"])', "a"),
    ('not array_contains_any(content_metadata["tags"], ["red", "green"])', "B"),
    ('array_length(content_metadata["tags"]) == 1', "B"),
    ('array_length(content_metadata["sizes"]) >= 0', "aB"),
    ('not array_length(content_metadata["sizes"]) > 0', "B"),
    ('content_metadata["filename"] == "B.md"', "B"),
    ('content_metadata["page_number"] <= 2', "aB"),
    ('content_metadata["type"] == "text" and content_metadata["page_number"] in [4]', "d"),
    ('content_metadata["n"] == 3 or content_metadata["n"] == 7 and content_metadata["open"] == true', "a"),
    ('(content_metadata["n"] == 3 or content_metadata["n"] == 7) AND NOT content_metadata["open"] == true', "B"),
    ("", "aBcd"),
]


@pytest.mark.parametrize(("text", "letters"), MATCHES)
def test_what_a_filter_finds(store: VectorStore, text: str, letters: str) -> None:
    check(store, text, letters)


def check(store: VectorStore, text: str, letters: str) -> None:
    expected = {f"{letter}.md" for letter in letters}
    assert {hit.chunk.document for hit in store.search_dense("c", np.ones(8), 9, filter=text)} == expected, text
    if store.abilities().sparse:
        assert {hit.chunk.document for hit in store.search_lexical("c", "pump", 9, filter=text)} == expected
    hits = store.search_hybrid("c", "pump", np.ones(8), 9, filter=text)
    assert {hit.chunk.document for hit in hits} == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('content_metadata["site"] == ', "expected a value, found the end at character 29"),
        ('content_metadata["site" == "x"', r"expected '\]', found '==' at character 25"),
        ('content_metadata["site"] ~ "x"', "unexpected '~' at character 26"),
        ('site == "x"', r'expected content_metadata\["..."\], not, \( or a function, found .site. at character 1'),
        ('content_metadata["site"] == "x" or', "found the end at character 35"),
        ('content_metadata["site"] == "x") or 1 == 1', r"expected and, or, or the end, found '\)' at character 32"),
        ('content_metadata["color"] == "x"', "there is no field 'color': this collection has site, when"),
        ('content_metadata["site"] > "x"', "> is not for field 'site' of type string"),
        ('content_metadata["site"] == 3', "field 'site' is compared with a string, not with 3"),
        ('content_metadata["n"] == "3"', "field 'n' is compared with a integer, not with '3'"),
        ('content_metadata["n"] == 3.5', "value of field 'n' is 3.5, give a whole number"),
        ('content_metadata["n"] == true', "not with True"),
        ('content_metadata["n"] not in [3]', "not in is not for field 'n'"),
        ('content_metadata["when"] == "soon"', "is 'soon', give a time as 2024-01-31T10:00:00Z"),
        ('content_metadata["open"] in [true]', "in is not for field 'open' of type boolean"),
        ('content_metadata["tags"] == "red"', "== is not for field 'tags' of type array"),
        ('content_metadata["tags"] in ["red"]', "in is not for field 'tags' of type array"),
        ('"x" in content_metadata["site"]', "in is not for field 'site' of type string"),
        ('content_metadata["site"] is null', "IS NULL is not supported"),
        ('content_metadata["site"] in []', r"expected a value, found '\]'"),
        ('array_length(content_metadata["tags"]) == 1.5', "expected a whole number from 0"),
        ('content_metadata["site"] == "a\x00b"', "control character"),
        ('content_metadata["site"] == "a\\qb"', r"unknown escape \\q"),
        ('content_metadata["site"] == "open', "unexpected '\"'"),
        ("(" * 60 + 'content_metadata["n"] == 1' + ")" * 60, "nested deeper than 40"),
        ("not " * 60 + 'content_metadata["n"] == 1', "nested deeper than 40"),
        ('content_metadata["n"] == 99999999999999999999', "the number is too large"),
        ("x" * 20_000, "has 20000 characters, 16384 at most"),
        ('document == "x" or ordinal >= 0', "found 'document' at character 1"),
    ],
)
def test_what_is_refused_and_where(text: str, fault: str) -> None:
    with pytest.raises(InvalidRequest, match=rf"^Invalid filter expression: .*{fault}"):
        filter_expression(text, FIELDS)


def test_without_a_schema_any_field_may_be_asked() -> None:
    assert filter_expression('content_metadata["color"] == "Red"', ()) == '(metadata["color"] == "Red")'
    assert filter_expression("  ", ()) == ""


def test_values_cannot_reach_out_of_their_quotes() -> None:
    text = 'content_metadata["site"] == "x\\" or document != \\"y"'
    assert filter_expression(text, FIELDS) == '(metadata["site"] == "x\\" or document != \\"y")'
    name = 'content_metadata["a\\"] or ordinal >= 0 or metadata[\\"b"] == 1'
    assert filter_expression(name, ()) == '(metadata["a\\"] or ordinal >= 0 or metadata[\\"b"] == 1)'


def test_the_fields_a_filter_asks_for() -> None:
    assert fields_of('not content_metadata["a"] == 1 and (content_metadata["b"] in [2] or "x" in content_metadata["c"])'
                     ) == {"a", "b", "c"}
    assert fields_of("") == set()


@given(st.text(max_size=40))
def test_rubbish_is_refused_and_never_breaks_the_parser(text: str) -> None:
    try:
        parse_filter(text)
    except InvalidRequest as error:
        assert error.message.startswith("Invalid filter expression: ")


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20))
def test_any_text_can_be_asked_for(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    parsed = parse_filter(f'content_metadata["f"] == "{quoted}"')
    assert parsed.value == value
