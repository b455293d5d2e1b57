"""Schemas of metadata: what they may say, and the form values are kept in."""

import pytest
from pydantic import ValidationError

from ullage.store.metadata import MetadataField, instant, normalised, repeated_names, shown, value_of


def field(type: str, **more: object) -> MetadataField:
    return MetadataField.model_validate({"name": "f", "type": type, **more})


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"name": "type", "type": "string"}, "'type' is reserved"),
        ({"name": "location", "type": "string"}, "'location' is reserved"),
        ({"name": "", "type": "string"}, "at least 1 character"),
        ({"name": 'a"b', "type": "string"}, "pattern"),
        ({"name": "a", "type": "array"}, "array_type goes with type array"),
        ({"name": "a", "type": "string", "array_type": "string"}, "array_type goes with type array"),
        ({"name": "a", "type": "date"}, "Input should be"),
        ({"name": "a", "type": "integer", "max_length": 3}, "max_length is for strings and arrays"),
        ({"name": "a", "type": "string", "max_length": 0}, "greater than 0"),
        ({"name": "a", "type": "string", "max_length": 70_000}, "65535 at most"),
        ({"name": "a", "type": "array", "array_type": "string", "max_length": 1001}, "1000 at most"),
    ],
)
def test_fields_that_cannot_be(said: dict, fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        MetadataField.model_validate(said)


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        ("string", "  Yard ", "yard"),
        ("integer", 3.0, 3),
        ("integer", "12", 12),
        ("integer", 2**60 + 1, 2**60 + 1),
        ("number", 3, 3),
        ("number", "2.5", 2.5),
        ("float", 3, 3.0),
        ("boolean", "ON", True),
        ("boolean", 0, False),
        ("boolean", False, False),
        ("datetime", "2024-01-02", "2024-01-02T00:00:00Z"),
        ("datetime", "2024-01-02T03:04:05.9+02:00", "2024-01-02T01:04:05Z"),
    ],
)
def test_values_have_one_form(kind: str, given: object, kept: object) -> None:
    found = value_of(field(kind), given)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("kind", "given", "fault"),
    [
        ("string", 3, "is 3, give a string"),
        ("integer", 3.5, "give a whole number"),
        ("integer", True, "give a whole number"),
        ("number", "x", "is 'x', give a number"),
        ("number", "nan", "give a number"),
        ("boolean", "maybe", "give true or false"),
        ("datetime", "soon", "give a time as"),
        ("datetime", 3, "give a time as"),
    ],
)
def test_values_that_are_refused(kind: str, given: object, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        value_of(field(kind), given)


def test_lengths_hold() -> None:
    with pytest.raises(ValueError, match="has 4 characters, 3 at most"):
        value_of(field("string", max_length=3), "abcd")
    array = field("array", array_type="string", max_length=2)
    assert value_of(array, ["A", " b"]) == ["a", "b"]
    with pytest.raises(ValueError, match="has 3 items, 2 at most"):
        value_of(array, ["a", "b", "c"])
    with pytest.raises(ValueError, match="give a list"):
        value_of(array, "a")


def test_a_schema_rejects_unknown_keys_and_misses_required_ones() -> None:
    fields = (MetadataField(name="site", type="string", required=True), MetadataField(name="n", type="integer"))
    assert normalised(fields, {"site": "Yard", "filename": "x.md"}) == ({"site": "yard"}, [])
    kept, faults = normalised(fields, {"n": "x", "color": "red"})
    assert kept == {}
    assert faults == [
        "unknown field 'color': the schema has site, n",
        "field 'site' is required: give a string",
        "field 'n': is 'x', give a whole number",
    ]


def test_without_a_schema_everything_is_taken() -> None:
    assert normalised((), {"Any": "Thing", "filename": "x"}) == ({"Any": "Thing"}, [])
    assert normalised((), {"location": 1})[1] == ["field name 'location' is reserved: choose another"]


def test_the_file_name_is_shown_and_the_hidden_fields_are_not() -> None:
    named = shown([MetadataField(name="site", type="string"),
                   MetadataField(name="page_number", type="integer", user_defined=False)])
    assert [said["name"] for said in named] == ["site", "filename"]
    assert repeated_names([MetadataField(name="a", type="string"), MetadataField(name="a", type="float")]) == ["a"]


def test_old_times_compare_as_text() -> None:
    assert instant("0099-01-01") == "0099-01-01T00:00:00Z" < instant("2024-01-01")
