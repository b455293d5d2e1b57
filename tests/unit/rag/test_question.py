"""What a question asks for."""

import pytest

from ullage.rag.question import LONGEST_IN_PASSING, MOST_TERMS_APART, read_question, without_each_term


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("How many deckhands does Grey Selkie need?", "number"),
        ("How much does the islander card cost?", "money"),
        ("What is the hourly price of the tug?", "money"),
        ("How long are booking records kept?", "duration"),
        ("When does the contract end?", "date"),
        ("In which year was it founded?", "year"),
        ("Who is the training officer?", "name"),
        ("Which company supplies the cameras?", "name"),
        ("At what temperature does the alarm sound?", "quantity"),
        ("Which extension reaches the desk?", "phone"),
        ("What discount do groups get?", "percent"),
    ],
)
def test_the_wanted_kind_follows_from_the_words(text, kind):
    assert kind in read_question(text).wanted


def test_a_cost_is_not_answered_by_a_percentage_nor_a_speed_by_a_length():
    assert read_question("How much will the battery cost?").wanted == {"money"}
    unit = read_question("What is the top speed of Corrie Lass?").unit
    assert unit is not None
    assert unit.search("24 knots")
    assert not unit.search("54.3 m")


def test_both_halves_of_a_double_question_count():
    assert {"money", "duration"} <= read_question("What does the card cost and how long does it last?").wanted


def test_an_open_question_wants_no_kind():
    assert read_question("Can dispersant be used in the sound?").wanted == frozenset()


def test_asked_leaves_out_names_values_and_words_for_kinds():
    question = read_question("How many kiosks were there in Kettlehaven in 2024?")
    assert question.asked == {"kiosk"}
    assert [name.text for name in question.names] == ["Kettlehaven"]
    assert [value.text for value in question.values] == ["2024"]


def test_names_typed_small_are_known_from_the_passages():
    passages = ["The approach at Little Hask is narrow.", "Cars queue; the limit at Little Hask is six knots."]
    small = read_question("what is the speed limit at little hask?", passages)
    assert [name.key for name in small.names] == ["little hask"]
    assert read_question("What is the speed limit at the slip?", passages).names == ()


def test_each_term_is_left_out_once():
    text = "Who repairs the lead pump?"
    shortened = without_each_term(text)
    assert list(shortened) == list(read_question(text).terms)
    assert shortened["pump"].split() == ["Who", "repairs", "the", "lead", "?"]


def test_a_question_of_stop_words_has_no_terms():
    assert read_question("What is it?").terms == {}


def test_a_text_that_is_no_question_any_more_is_not_taken_apart():
    """128,000 characters without each of 13,000 words would be 1.6 GB."""
    apart = " ".join(f"w{n}x" for n in range(MOST_TERMS_APART))
    assert len(without_each_term(apart)) == MOST_TERMS_APART
    assert without_each_term(f"{apart} pump") == {}
    assert without_each_term("pump " * (LONGEST_IN_PASSING // 5) + "x") == {}
    long = " ".join(f"word{n}" for n in range(LONGEST_IN_PASSING))
    assert len(read_question(long).terms) == LONGEST_IN_PASSING
    assert read_question(long) is not read_question(long)  # not kept
    assert read_question("Who repairs it?") is read_question("Who repairs it?")
