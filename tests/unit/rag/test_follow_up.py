"""Follow-up questions made to stand alone by rules."""

import pytest

from ullage.rag.asked import Turn
from ullage.rag.follow_up import Before, stand_alone
from ullage.rag.rewrite import by_rules

POWER = ("What is the maximum power of the charger at Dunlin Yard?", "120 kW")
LEAVE = ("How much may the welfare fund lend?", "£800")


@pytest.mark.parametrize(
    ("before", "question", "expected"),
    [
        (POWER, "And at Brannoch?", "What is the maximum power of the charger at Brannoch?"),
        (POWER, "What about Brannoch?", "What is the maximum power of the charger at Brannoch?"),
        (POWER, "What is its voltage?", "What is the charger at Dunlin Yard's voltage?"),
        (("Who collects the waste oil?", "Waste oil is collected by Greywater Haulage every seven weeks. [1]"),
         "How often do they come?", "How often do Greywater Haulage come?"),
        (("What is the hourly price of the tug from Kettlehaven?", "£1,150"),
         "How long does it need to reach Port Ansel?",
         "How long does the tug from Kettlehaven need to reach Port Ansel?"),
        (("How many running hours are allowed between injector tests on the Harlund H6-480?", "2,500"),
         "And on the Vessby 6L-410?",
         "How many running hours are allowed between injector tests on the Vessby 6L-410?"),
        (LEAVE, "Over how long is it repaid?", "Over how long is the welfare fund repaid?"),
        (("What is the general alarm signal?", "seven"), "And the abandon ship signal?",
         "What is the abandon ship signal?"),
        (("How much is a day ticket for a car in summer?", "£9"), "And in winter?",
         "How much is a day ticket for a car in winter?"),
        (("What is the fare in 2024?", "£3"), "ok, and in 2025?", "What is the fare in 2025?"),
        (("How much iron in an oil sample calls for immediate action?", "90 ppm"), "And copper?",
         "How much copper in an oil sample calls for immediate action?"),
        (("How many adult lifejackets are kept on Corrie Lass?", "392"), "How often are they looked at?",
         "How often are adult lifejackets looked at?"),
        (("When are the sirens tested?", "Thursday"), "Who tests them?", "Who tests the sirens?"),
    ],
)
def test_what_a_follow_up_leaves_out_is_put_back(before, question, expected):
    assert stand_alone(question, Before(*before)) == expected


@pytest.mark.parametrize(
    "question",
    ["What is the weather in Paris?", "Who collects waste oil at Kettlehaven?",
     "How long does it take to reach Port Ansel?"],
)
def test_a_question_that_stands_alone_stays_as_it_is(question):
    assert stand_alone(question, Before(*POWER)) == question
    assert stand_alone(question, None) == question


def test_a_conversation_is_followed_turn_by_turn():
    history = [Turn("user", POWER[0]), Turn("assistant", POWER[1]), Turn("user", "And at Brannoch?"),
               Turn("assistant", "900 kW")]
    assert by_rules(history, "What is its voltage?") == "What is the charger at Brannoch's voltage?"


@pytest.mark.parametrize("question", ["", "?", "and", "it", "What about?", "x" * 5000, "its " * 200,
                                      " at" * 40_000, "and and and ?!"])
def test_whatever_is_typed_is_taken(question):
    assert isinstance(stand_alone(question, Before("What is it?", "It is.")), str)
    assert isinstance(stand_alone(question, Before(question, question)), str)
