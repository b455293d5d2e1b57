"""Passages into sentences, items and rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ullage.rag.sentences import split


def texts(passage):
    return [unit.text for unit in split(passage)]


@pytest.mark.parametrize(
    ("passage", "expected"),
    [
        ("The pump (No. 4) runs at 4.2 bar. It is old.", ["The pump (No. 4) runs at 4.2 bar.", "It is old."]),
        ("Dr. Smith met J. Doe at 5 p.m. Then they left.", ["Dr. Smith met J. Doe at 5 p.m.", "Then they left."]),
        ("See Fig. 3 and p. 12. Use e.g. grease.", ["See Fig. 3 and p. 12.", "Use e.g. grease."]),
        ("It stays below 86 °C. The alarm sounds at 93 °C.", ["It stays below 86 °C.", "The alarm sounds at 93 °C."]),
        ("Go to berth C. The ramp is down.", ["Go to berth C.", "The ramp is down."]),
        ("Is it so? Yes! Good.", ["Is it so?", "Yes!", "Good."]),
        ("He said \"stop.\" Then he went.", ['He said "stop."', "Then he went."]),
        ("about 3.5 m. and more", ["about 3.5 m. and more"]),
        ("Stenna Raft Services Ltd. undertakes it.", ["Stenna Raft Services Ltd. undertakes it."]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_sentences_end_where_a_reader_ends_them(passage, expected):
    assert texts(passage) == expected


def test_lines_broken_by_the_page_flow_together_and_short_lines_do_not():
    passage = (
        "Rafts go ashore every twelve months for a service and their hydrostatic releases are\n"
        "replaced every second year. Flares are withdrawn 36 months after they have been\n"
        "manufactured.\n\nContents\nIndex"
    )
    found = texts(passage)
    assert found[0].endswith("releases are\nreplaced every second year.")
    assert found[1:] == ["Flares are withdrawn 36 months after they have been\nmanufactured.", "Contents", "Index"]


def test_items_are_cut_at_their_marks():
    found = split("Before sailing:\n- check the ramp\n- close the doors, see Fig. 2\n1. Lift the cover.\n2. Pull.")
    assert [unit.kind for unit in found] == ["sentence", "item", "item", "item", "item"]
    assert found[2].text == "- close the doors, see Fig. 2"


def test_a_markdown_row_carries_its_head():
    found = split("| Pump | Pressure |\n|---|---|\n| P-101 | 4.2 bar |\n| P-102 | 5.0 bar |")
    assert [unit.spoken for unit in found] == ["Pump: P-101; Pressure: 4.2 bar", "Pump: P-102; Pressure: 5.0 bar"]
    assert found[1].plain == "P-102 | 5.0 bar"


def test_a_row_sentence_of_the_ingestor_is_a_row_with_its_columns():
    passage = "Table 4.1: Chargers\nCH-3 — Site: Brannoch, berth C; Power: 900 kW\nCH-4 — Site: Ostrey; Power: 60 kW"
    caption, third, fourth = split(passage)
    assert caption.kind == "sentence"
    assert (third.kind, third.cells, third.header) == (
        "row", ("CH-3", "Brannoch, berth C", "900 kW"), ("", "Site", "Power"),
    )
    assert fourth.spoken == "CH-4 — Site: Ostrey; Power: 60 kW"


def test_a_dash_in_a_sentence_makes_no_row():
    [unit] = split("The mate — who commands the deck — reports to the bridge.")
    assert unit.kind == "sentence"


def test_rows_below_a_caption_that_lost_their_borders():
    passage = "Table 3.1: On board\nAppliance Tern Maiden Corrie Lass\nLifebuoys 12 14\nFlares 12 12\n\nMore."
    _, lifebuoys, flares, more = split(passage)
    assert (lifebuoys.kind, lifebuoys.header) == ("row", ("Appliance Tern Maiden Corrie Lass",))
    assert flares.spoken == "Appliance Tern Maiden Corrie Lass: Flares 12 12"
    assert more.kind == "sentence"


def test_text_before_the_beginning_is_left_out():
    passage = "Plan > 4 Fire\nStop the fans."
    assert texts(passage)[0].startswith("Plan")
    assert [unit.text for unit in split(passage, passage.index("Stop"))] == ["Stop the fans."]


@given(st.text(alphabet="ab. A?\n|-:;—1", max_size=80))
def test_every_unit_stands_where_it_says_and_none_overlap(passage):
    at = 0
    for unit in split(passage):
        assert passage[unit.start : unit.end] == unit.text
        assert unit.start >= at
        at = unit.end


@given(st.text(alphabet="abAB. ?!\n", max_size=80))
def test_no_letter_of_prose_is_lost(passage):
    assert "".join("".join(texts(passage)).split()) == "".join(passage.split())
