"""Values and names of a text."""

import random
import re

import pytest

from ullage.rag.values import _PATTERNS, _found_in, key_of, names, stands, values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("£18.40 per turn", [("money", "£18.40"), ("duration", None)][:1]),
        ("at 14.2 pence per kWh", [("money", "14.2 pence")]),
        ("no more than 28 seconds", [("duration", "28 seconds")]),
        ("good for two years", [("duration", "two years")]),
        ("ends on 31 January 2026.", [("date", "31 January 2026")]),
        ("1,274 planned patients", [("number", "1,274")]),
        ("at 93 °C", [("quantity", "93 °C")]),
        ("19 cubic metres", [("quantity", "19 cubic metres")]),
        ("a 900 kW charger", [("quantity", "900 kW")]),
        ("since 2009", [("year", "2009")]),
        ("about 40 per cent", [("percent", "40 per cent")]),
        ("extension 4436", [("phone", "extension 4436")]),
        ("pump P-101 and TR-40", [("identifier", "P-101"), ("identifier", "TR-40")]),
        ("tested at 10:15", [("time", "10:15")]),
        ("22 | 24 | 23", [("number", "22"), ("number", "24"), ("number", "23")]),
    ],
)
def test_each_kind_is_found_whole(text, expected):
    assert [(value.kind, value.text) for value in values(text)] == expected


def test_two_ways_to_write_a_value_have_one_key():
    assert key_of("Two years") == key_of("2 years")
    assert key_of("1,150") == key_of("1150")
    assert key_of("twenty-four hours.") == "24 hours"
    assert key_of("28 seconds") != key_of("28 minutes")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Nils Corby, the electrician at Dunlin Yard.", ["Nils Corby", "Dunlin Yard"]),
        ("The crew of Grey Selkie rests.", ["Grey Selkie"]),
        ("Who runs Saltmarrow Island Ferries?", ["Saltmarrow Island Ferries"]),
        ("It goes to Rust & Daughters.", ["Rust & Daughters"]),
        ("What is Signe Marlowe's post?", ["Signe Marlowe"]),
        ("On Monday, 3 March, at berth C.", []),
        ("Lifeboats are tested.", []),
        ("Use 450 Mbit/s for the TR-40.", []),
    ],
)
def test_names_are_runs_of_capitals_that_open_no_sentence(text, expected):
    assert [name.text for name in names(text)] == expected


PIECES = """
seven percent sevenpercent per cent 12,345 1,234.5 March march 3rd May 2025-01-02 monday Tuesdays noon 5 pm 9 a.m. call
+44 20 7946 three days a week half an hour several months every year hourly kW metres AB-12 ABC-DEF 1999 2024 none twice
€ £3.50 25 USD \u017feven \u212a µm m² few hours twenty-one fourteen calendar working X Kettle ships,
""".split()


def test_a_pattern_is_left_out_only_where_it_finds_nothing():
    """Whether a text may hold a kind of value is seen from its words and digits before it is searched."""
    random_ = random.Random(3)
    searched = left = 0
    for _ in range(1500):
        text = " ".join(random_.choices(PIECES, k=random_.randint(1, 9)))
        for cased in (text, text.upper(), text.title()):
            found = _found_in(cased)
            taken = []
            for kind, pattern, _needs in _PATTERNS:
                for match in pattern.finditer(cased):
                    if not any(match.start() < end and start < match.end() for start, end, _ in taken):
                        taken.append((*match.span(), kind))
            assert [(value.start, value.end, value.kind) for value in found] == sorted(taken), cased
            searched, left = searched + bool(taken), left + (not taken)
    assert searched > 1000
    assert left > 10


@pytest.mark.parametrize(("key", "text", "whole", "number"), [
    ("4.2", "at 4.2 bar", True, True),
    ("4.2", "at 14.2 bar, then 4.25, then 4.2.1", True, False),
    ("4.2", "at 14.2 bar and 4.25", False, False),
    ("4.2", "at 1.4.2", True, False),
    ("4.2", "rises to 4.2. Then falls", True, True),
    ("12", "12,500 or 3,12", True, False),
    ("hask", "little hask's slip", True, True),
    ("hask", "haskell, ahask and ha_sk hask_1", False, False),
    ("hask", "haskell or hask", True, True),
    ("kW", "900 kWé kW²", False, False),
    ("a", "", False, False),
])
def test_a_key_stands_only_as_a_whole_word(key, text, whole, number):
    assert stands(key, text) is whole
    assert stands(key, text, number=True) is number


def test_a_key_stands_where_a_pattern_finds_it():
    random_ = random.Random(1)
    letters = "4.2, 1a_ºé٣²½-/x A"
    stood = 0
    for _ in range(20_000):
        text, key = ("".join(random_.choices(letters, k=k)) for k in (random_.randrange(14), random_.randint(1, 3)))
        plain = re.escape(key)
        whole = re.search(rf"(?<!\w){plain}(?!\w)", text) is not None
        number = re.search(rf"(?<![\w.,]){plain}(?!\w|[.,]\d)", text) is not None
        assert (stands(key, text), stands(key, text, number=True)) == (whole, number), (key, text)
        stood += number
    assert stood > 100


def test_words_for_numbers_are_spelled_as_digits_only_where_they_stand_alone():
    assert key_of("Twenty-one of 1,250 one-way trips, seventy m²") == "21 of 1250 one-way trips, 70 m²"
    assert key_of("Ships - and yards!") == "ships - and yards"
