"""What the numbers in an answer stand for, and what is taken out of the page as Markdown."""

import pytest

from ullage.web.cites import cited, of_result, passages, picture
from ullage.web.export import markdown
from ullage.web.kept import Turn

RESULT = {
    "document_name": "plan.pdf", "content": "Sirens sound on Thursday. Bring shoes.", "score": 0.6,
    "metadata": {"page_number": 4, "location": [72, 100, 540, 200], "location_max_dimensions": [612, 800],
                 "collection_name": "handbook", "content_metadata": {"headings": ["Alarms", "Tests"]}},
}


def answer(**closing):
    return Turn("assistant", "On Thursday [1].", results=[RESULT], closing=closing)


def test_a_passage_has_its_place_on_its_page():
    cite = of_result(RESULT, 1)
    assert (cite.document, cite.collection, cite.page, cite.place) == ("plan.pdf", "handbook", 4, "Alarms › Tests")
    assert cite.box == pytest.approx((72 / 612, 0.125, 468 / 612, 0.125))


@pytest.mark.parametrize("location", [None, [], [1, 2, 3], [5, 5, 5, 9], [-1, 0, 4, 4], ["a", 0, 1, 1]])
def test_a_place_that_is_none_is_not_drawn(location):
    result = {**RESULT, "metadata": {**RESULT["metadata"], "location": location}}
    assert of_result(result, 1).box is None


def test_a_box_ends_at_the_edge_of_the_page():
    result = {**RESULT, "metadata": {**RESULT["metadata"], "location": [306, 400, 9999, 9999]}}
    assert of_result(result, 1).box == pytest.approx((0.5, 0.5, 0.5, 0.5))


def test_a_linked_sentence_takes_its_place_from_the_passage_that_holds_it():
    other = {**RESULT, "content": "Something else.", "metadata": {**RESULT["metadata"], "location": [0, 0, 1, 1]}}
    linked = [{"number": 3, "document_name": "dir/plan.pdf", "page_number": 4, "text": "Bring shoes.",
               "place": "dir/plan.pdf, page 4", "score": 2.0}]
    turn = Turn("assistant", "x", results=[other, RESULT], closing={"grounding": {"citations": linked}})
    cite = cited(turn)[3]
    assert (cite.text, cite.box, cite.place) == ("Bring shoes.", of_result(RESULT, 1).box, "Alarms › Tests")


def test_a_link_may_name_its_passage_by_its_place():
    other = {**RESULT, "metadata": {**RESULT["metadata"], "page_number": 9}}
    linked = [{"number": 1, "document_name": "plan.pdf", "page_number": 9, "text": "Bring shoes.", "passage": 1}]
    cite = cited(Turn("assistant", "x", results=[RESULT, other], closing={"grounding": {"citations": linked}}))[1]
    assert (cite.page, cite.box) == (9, of_result(other, 1).box)
    for wrong in (7, -1, None, "1"):
        linked[0]["passage"] = wrong
        assert cited(Turn("assistant", "x", results=[RESULT, other],
                          closing={"grounding": {"citations": linked}}))[1].page == 9


def test_without_links_numbers_are_the_passages():
    assert list(cited(answer())) == [1]
    assert cited(answer(grounding={"citations": []})) == {}
    assert [cite.number for cite in passages(answer())] == [1]


def test_a_pictures_address_carries_any_name():
    assert picture("a&b", "x y/ü?.pdf", 2, 99) == "/page?collection=a%26b&document=x+y%2F%C3%BC%3F.pdf&page=2&pixels=99"


def test_a_conversation_as_markdown_has_no_link_and_no_html():
    turns = [Turn("user", "See [x](javascript:1)\n<b>"), answer(degraded=["ranking"]),
             Turn("assistant", "Look at https://a.example and ![p](q) <i>", "stopped")]
    text = markdown(turns)
    assert "- [1] plan.pdf, page 4: Sirens sound on Thursday. Bring shoes." in text
    assert "*Answered without: ranking*" in text
    assert "*(stopped)*" in text
    for live in ("](", "<", ">", "https://", "!["):
        assert live not in text
