"""Which sentence speaks to a question, and of what."""

import numpy as np
import pytest

from ullage.models.lexical import analyze
from ullage.rag.evidence import AFTER_CREDIT, BEFORE_CREDIT, candidates, holds_answer, with_vectors
from ullage.rag.passage import Passage
from ullage.rag.question import read_question, without_each_term
from ullage.rag.subject import Surroundings, missing_subjects

CHARGERS = Passage(
    "4.3 Shore chargers\nTable 4.2: Shore chargers\nCH-3 — Site: Brannoch; Maximum power: 900 kW\n"
    "CH-5 — Site: Dunlin Yard; Maximum power: 120 kW",
    "manual.pdf", page=7, headings=("Manual", "4.3 Shore chargers"),
)
HASK = Passage("At Little Hask the berth has no crane. The slip is wet.", "manual.pdf", page=8, headings=("Manual",))
PUMPS = Passage("P-101: 4.2 bar\nP-102: 5.0 bar", "pumps.md", headings=("Plant", "Cooling water pumps"))


def best(text, *passages):
    return candidates(read_question(text), passages)[0]


def test_the_row_about_the_named_site_wins():
    found = best("What is the maximum power of the charger at Dunlin Yard?", CHARGERS, HASK)
    assert found.text.startswith("CH-5")
    assert (found.answers, found.missing) == (True, ())


def test_no_row_is_about_a_site_that_has_none():
    question = read_question("What is the maximum power of the charger at Little Hask?")
    found = candidates(question, [CHARGERS, HASK])
    assert all("Little Hask" in item.missing for item in found if item.passage == 0)
    assert all(item.score < 0 for item in found)


def test_a_heading_covers_what_the_row_leaves_out():
    found = best("What is the pressure of cooling pump P-102?", PUMPS)
    assert found.text == "P-102: 5.0 bar"
    assert found.credit["cool"] == 0.8


def test_a_year_must_be_the_sentences_own_when_it_has_one():
    passage = Passage("In 2024 there were 38 breaches, against 57 in 2023. In 2019 a new rule came.", "a.md")
    assert best("How many breaches were there in 2024?", passage).missing == ()
    assert best("How many breaches were there in 2019?", passage).missing == ("2019",)


def test_surroundings_lend_a_name_unless_the_sentence_has_its_own():
    question = read_question("How long does it take from Little Hask?")
    around = Surroundings(earlier=("The run to Little Hask is short.",))
    assert missing_subjects(question, "It takes nine minutes.", around) == ()
    assert missing_subjects(question, "From Brannoch it takes nine minutes.", around) == ("Little Hask",)


def test_the_wanted_kind_must_not_be_the_questions_own_value():
    question = read_question("How many boats sailed in 2024?")
    assert not holds_answer(question, "Boats sailed in 2024.")
    assert holds_answer(question, "In 2024, 41 boats sailed.")
    assert holds_answer(read_question("Is it wet?"), "It is.")


def test_the_same_sentence_in_two_passages_of_a_document_counts_once():
    twice = [Passage("The tug is red. One.", "a.md"), Passage("The tug is red. Two.", "a.md")]
    found = candidates(read_question("Which colour is the tug?"), twice)
    assert [item.text for item in found].count("The tug is red.") == 1


def test_vectors_tell_other_words_from_words_that_are_not_there():
    """Without "holiday" the question is farther from a sentence about leave, and no farther from one about rain."""
    question = read_question("Which holiday applies?")
    found = candidates(question, [Passage("Leave is granted.", "a.md"), Passage("Rain is measured.", "b.md")])
    terms = list(without_each_term(question.text))
    whole = [np.array([1.0, 1.0, 0.0])]
    without = [np.array([0.0, 1.0, 0.0]) if term == "holiday" else np.array([1.0, 1.0, 0.0]) for term in terms]
    sentences = [
        np.array([1.0, 0.0, 0.0]) if item.text.startswith("Leave") else np.array([0.0, 1.0, 0.0]) for item in found
    ]
    weighed = with_vectors(question, found, np.array([*whole, *without], np.float32), np.array(sentences, np.float32))
    leave, rain = sorted(weighed, key=lambda item: item.text)
    assert leave.credit["holiday"] > 0 == rain.credit["holiday"]
    assert rain.gap > 0 == leave.gap
    assert weighed[0] is leave


def test_nothing_comes_of_no_passages():
    assert candidates(read_question("Who?"), []) == []


MIXED = Passage(
    "The tug lies at Dunlin. It tows ships. Table 4.2: Power of tugs\n| Tug | Power |\n|---|---|\n| Ostrey | 900 kW |\n"
    "| Brannoch | 120 kW |\n\nEvery tug has a crew. The power is metered.", "tugs.md")


@pytest.mark.parametrize("passage", [CHARGERS, HASK, PUMPS, MIXED])
def test_what_stands_before_and_after_counts_as_the_surroundings_say(passage):
    """Credit is counted from the first and the last sentence with a term; the surroundings join the texts."""
    question = read_question("What is the maximum power of the tug or pump at Dunlin, Ostrey or Little Hask?")
    found = candidates(question, [passage])
    assert len(found) > 1
    for item in found:
        nearer = {*analyze(item.unit.plain), *analyze(" ".join((*item.unit.header, *item.around.headings)))}
        before, after = set(analyze(item.around.before)), set(analyze(item.around.after))
        for term in question.terms.keys() - nearer:
            shown = BEFORE_CREDIT if term in before else AFTER_CREDIT if term in after else 0.0
            assert item.credit[term] == shown, (item.text, term)


def test_rows_of_a_table_lend_one_another_nothing():
    found = candidates(read_question("What is the power of Ostrey at Dunlin?"), [MIXED])
    ostrey, brannoch = (next(item for item in found if name in item.unit.cells) for name in ("Ostrey", "Brannoch"))
    assert ostrey.credit == {"power": 0.9, "ostrey": 1.0, "dunlin": 0.5}
    assert brannoch.credit == {"power": 0.9, "ostrey": 0.0, "dunlin": 0.5}
    last = next(item for item in found if item.text == "The power is metered.")
    assert last.credit["ostrey"] == 0.5
    assert "Ostrey" not in ostrey.around.before + brannoch.around.before
    assert brannoch.around.previous == "Table 4.2: Power of tugs"
