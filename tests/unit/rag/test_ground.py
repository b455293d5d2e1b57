"""What a generated sentence may say. Each case is one that a small model gets wrong."""

import pytest

from ullage.rag.evidence import candidates
from ullage.rag.ground import states_answer, support
from ullage.rag.passage import Passage
from ullage.rag.question import read_question

TANKS = (
    "Holding tanks take 14 cubic metres on Tern Maiden, 6 cubic metres on Grey Selkie "
    "and 19 cubic metres on Corrie Lass."
)
JACKETS = "Adult lifejackets — Tern Maiden: 345; Grey Selkie: 228; Corrie Lass: 392"
TUG = "The tug Bold Heron, stationed at Kettlehaven, is hired at £1,150 an hour with a minimum of six hours."
DEPUTY = "Nils Corby, the lead electrician at Dunlin Yard, approves every job; his deputy is Freya Mossop."
POWER = "Electricity is bought from Northreach Power at 14.2 pence per kWh at night and 21.7 pence by day."
SPRAY = "Dispersant is not held, because the Water Board does not permit its use in the sound."
CHARGER = "CH-3 — Site: Brannoch; Maximum power: 900 kW"


def supported(question, sentence, source, headings=()):
    asked = read_question(question)
    found = candidates(asked, [Passage(source, "a.md", headings=headings)])
    return support(asked, sentence, found) is not None


@pytest.mark.parametrize(
    ("question", "sentence", "source"),
    [
        ("How big is the tank on Corrie Lass?", "The holding tank on Corrie Lass takes 19 cubic metres.", TANKS),
        ("How many lifejackets are on Grey Selkie?", "There are 228 adult lifejackets on Grey Selkie.", JACKETS),
        ("What is the hourly price of the tug from Kettlehaven?", "The hourly price of the tug is £1,150.", TUG),
        ("What does Northreach Power charge at night?", "Northreach Power charges 14.2 pence per kWh at night.", POWER),
        ("Is dispersant held?", "Dispersant is not held.", SPRAY),
        ("How powerful is the charger at Brannoch?", "The charger at Brannoch has a maximum power of 900 kW.", CHARGER),
    ],
)
def test_what_the_source_says_is_let_through(question, sentence, source):
    assert supported(question, sentence, source, headings=("Shore chargers",))


@pytest.mark.parametrize(
    ("question", "sentence", "source"),
    [
        ("How big is the tank on Corrie Lass?", "The holding tank on Corrie Lass takes 14 cubic metres.", TANKS),
        ("How big is the tank on Corrie Lass?", "It takes 14 cubic metres.", TANKS),
        ("How many lifejackets are on Tern Maiden?", "There are 228 adult lifejackets on Tern Maiden.", JACKETS),
        ("How many lifejackets are on Tern Maiden?", "There are 228 adult lifejackets.", JACKETS),
        ("What is the hourly price of the tug?", "The hourly price of the tug is £1,250.", TUG),
        ("What is the hourly price of the tug?", "The tug Old Heron is hired at £1,150 an hour.", TUG),
        ("For how long is the tug hired?", "The tug is hired for at least six days.", TUG),
        ("Who stands in for the lead electrician?", "Nils Corby stands in for the lead electrician.", DEPUTY),
        ("What is the night price of electricity?", "Electricity at night costs 21.7 pence.", POWER),
        ("Is dispersant held?", "Dispersant is held.", SPRAY),
        ("How powerful is the charger at Little Hask?", "The charger at Little Hask has 900 kW.", CHARGER),
        ("How powerful is the charger at Brannoch?", "The charger was the best of its class, made by hand.", CHARGER),
        ("When was it built?", "It was built on 3 March 2021.", "It was built in 2021, and painted in 2023."),
    ],
)
def test_what_the_source_does_not_say_is_not(question, sentence, source):
    assert not supported(question, sentence, source)


def test_a_number_in_a_heading_supports_nothing():
    source = "The deck is washed."
    assert not supported("How often is the deck washed?", "The deck is washed 4.2 times.", source, ("4.2 Deck",))


def test_two_sentences_do_not_add_up_to_one():
    source = "Tern Maiden was built in 2009. Corrie Lass has 40 car units."
    assert not supported("How many car units has Tern Maiden?", "Tern Maiden has 40 car units.", source)


def test_the_answer_is_stated_only_with_a_value_of_the_wanted_kind():
    question = read_question("How much extra is paid for cleaning tanks?")
    [row] = candidates(question, [Passage("Dirty work, tanks — Amount: £9.75 per hour; Paid to: Engineers", "a.md")])
    assert states_answer(question, "Cleaning tanks is paid £9.75 per hour.", row)
    assert not states_answer(question, "Cleaning tanks is paid extra.", row)
    assert not states_answer(question, "Cleaning tanks is paid £8.00.", row)
