"""Passages in, an order out."""

import pytest

from ullage.errors import InvalidRequest
from ullage.web.rerank import read, split


def test_passages_stand_between_empty_lines_or_each_on_its_own():
    assert split("one\ntwo\r\n\r\nthree\n \n\nfour\n") == ["one\ntwo", "three", "four"]
    assert split("one\ntwo\n") == ["one", "two"]
    assert split(" \n ") == []


def test_an_order_is_read_with_what_moved():
    answer = {"results": [{"index": 2, "relevance_score": 0.9, "logit": 4.0, "tokens": 7, "truncated": True},
                          {"index": 0, "relevance_score": 0.5, "logit": 1.0}, {"index": 1, "relevance_score": 0.1}]}
    ranked = read(answer, ["a", "b", "c"])
    assert [(one.text, one.before, one.after, one.moved) for one in ranked] == [
        ("c", 3, 1, 2), ("a", 1, 2, -1), ("b", 2, 3, -1)]
    assert [one.share for one in ranked] == [1.0, pytest.approx(0.9 / 3.9), 0.0]
    assert (ranked[0].tokens, ranked[0].truncated, ranked[1].tokens) == (7, True, None)


@pytest.mark.parametrize("answer", [None, {}, {"results": []}, {"results": [{"index": 9, "relevance_score": 1}]},
                                    {"results": [{"index": 0, "relevance_score": "x"}]}])
def test_a_body_that_ranks_nothing_is_refused(answer):
    with pytest.raises(InvalidRequest, match="does not rank 1 passages"):
        read(answer, ["a"])
