"""What `ullage bench answers` counts."""

import dataclasses
import json

import pytest

from rag_stubs import Stub, small
from ullage.errors import InvalidRequest
from ullage.rag.evaluate import evaluate, read_questions

TUG = {"id": "a", "question": "How long does it need to reach Port Ansel?", "facts": [["four hours", "4 hours"]],
       "document": "plan.pdf", "page": 13,
       "history": [["What is the hourly price of the tug from Kettlehaven?", "£1,150"]]}
NONE = {"id": "b", "question": "What is the boiling point of ethanol?", "facts": []}


async def test_the_first_citation_and_declined_questions_are_counted(words_store, tmp_path):
    path = tmp_path / "questions.jsonl"
    wrong = {**TUG, "id": "c", "page": 4}
    path.write_text("\n".join(map(json.dumps, (TUG, NONE, wrong))))
    async with small(words_store, tmp_path, {"llm": Stub(says="The tug needs four hours.")}) as rag:
        report = await evaluate(rag.rag, read_questions(path))
    first, none, other = report.outcomes
    assert first.searched == "How long does the tug from Kettlehaven need to reach Port Ansel?"
    assert (first.right, first.first_cited, none.first_cited, other.first_cited) == (True, True, None, False)
    assert report.summary["cited page of the first citation right (%)"] == 50.0
    assert report.summary["unanswerable declined (%)"] == 100.0
    assert "first citation right (%)" in report.table()
    assert report.as_json()["outcomes"][0] == dataclasses.asdict(first)


def test_a_line_that_is_no_question_is_named(tmp_path):
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(NONE) + '\n{"id": "x"}')
    with pytest.raises(InvalidRequest, match="line 2: no question"):
        read_questions(path)
