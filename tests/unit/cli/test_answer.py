"""The RAG server's own bodies, read as a client reads them."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from ullage.cli.answer import gather
from ullage.cli.ask import place_of, show_evidence, show_passages
from ullage.cli.demo import ASKED, demo_questions, fault_of
from ullage.errors import EngineFailed, InvalidRequest
from ullage.rag.evaluate import TestQuestion
from ullage.rag.events import Answer, Citation, Timings
from ullage.rag.passage import Passage
from ullage.rag.wire import Chunks, source_result

SIREN = Citation(1, "plan.pdf", 4, "plan.pdf, page 4", "The siren is tested on Thursday.", 2.0)


def events(*chunks):
    return [json.loads(chunk.removeprefix("data: ")) for chunk in chunks]


def told(text, answer):
    made = Chunks("model")
    timings = Timings({"embed": 0.010, "rerank": 0.9}, 0.91, 0.5)
    return events(*(made.chunk(word) for word in text), *made.last(answer, timings))


def shown(show, *arguments):
    stream = io.StringIO()
    show(Console(file=stream, width=200), *arguments)
    return stream.getvalue()


def test_an_answer_is_heard_as_it_comes_and_kept_whole():
    heard = []
    stream = told(["On ", "Thursday [1]"], Answer(citations=(SIREN,), withheld=("x", "y")))
    answer = gather("When?", stream, heard.append)
    assert heard == ["On ", "Thursday [1]"]
    assert answer.text == "On Thursday [1]"
    assert (answer.citations[0].document, answer.citations[0].page) == ("plan.pdf", 4)
    assert (answer.declined, answer.withheld, answer.degraded) == (False, 2, ())
    assert answer.stages_ms == {"embed": 10.0, "rerank": 900.0}
    assert json.loads(json.dumps(answer.as_json()))["citations"][0]["place"] == "plan.pdf, page 4"


def test_the_evidence_is_shown_with_what_is_missing():
    answer = gather("When?", told(["x"], Answer(citations=(SIREN,), withheld=("x",), degraded=("ranking",))), str)
    assert shown(show_evidence, answer).splitlines() == [
        "  [1] plan.pdf, page 4",
        "  withheld: 1 that the documents do not support",
        "  degraded: ranking did not take part",
        "  ms: embed 10, rerank 900, total 910",
    ]


def test_a_stream_that_ends_in_an_error_is_no_answer():
    made = Chunks("model")
    with pytest.raises(EngineFailed, match="the LLM went away"):
        gather("When?", events(made.chunk("On "), *made.error("the LLM went away")), str)
    with pytest.raises(EngineFailed, match="nothing"):
        gather("When?", [], str)


def test_passages_show_the_score_they_were_ordered_by():
    page = Passage("Sirens\nThe siren is tested.", "plan.pdf", 4, ("Plan", "Sirens"), retrieval_score=0.0328)
    text = Passage("The crew", "rota.md", None, ("Rota", "Crews"), logit=1.5)
    assert shown(show_passages, [source_result(page), source_result(text)]).splitlines() == [
        "  1. rrf 0.0328  plan.pdf, page 4: Sirens The siren is tested.",
        '  2. logit +1.50  rota.md, "Crews": The crew',
    ]
    assert place_of(source_result(Passage("x", "bare.md"))) == "bare.md"
    assert shown(show_passages, []) == "nothing was found\n"


QUESTION = TestQuestion("q07", "When?", (("Thursday",), ("10:15", "10.15")), "plan.pdf", 4, "Sirens")


def answered(text, **answer):
    return gather("When?", told([text], Answer(**answer)), str)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (answered("each Thursday at 10.15 [1]", citations=(SIREN,)), None),
        (answered("each Thursday [1]", citations=(SIREN,)), "does not hold Thursday, 10:15"),
        (answered("each Thursday at 10:15"), "does not cite plan.pdf, page 4"),
        (answered("The documents do not say", declined=True), "does not hold"),
    ],
)
def test_the_demo_sees_a_wrong_answer(answer, fault):
    found = fault_of(QUESTION, answer)
    assert (found is None) if fault is None else fault in found


def test_the_demo_wants_a_question_without_an_answer_declined():
    question = TestQuestion("q25", "How many?")
    assert fault_of(question, answered("312 litres")) == "q25 was answered, though the documents do not say"
    assert fault_of(question, answered("no", declined=True)) is None


def write(folder, *ids):
    rows = [json.dumps({"id": number, "question": "?", "facts": []}) for number in ids]
    (folder / "questions.jsonl").write_text("\n".join(rows))


def test_the_demos_questions_stand_in_the_folder_or_above_it(tmp_path):
    inner = tmp_path / "handbook"
    inner.mkdir()
    with pytest.raises(InvalidRequest, match=r"has a questions\.jsonl"):
        demo_questions(inner)
    write(tmp_path, *reversed(ASKED), "q99")
    assert tuple(question.id for question in demo_questions(inner)) == ASKED
    write(inner, "q99")
    with pytest.raises(InvalidRequest, match=", ".join(ASKED)):
        demo_questions(inner)


def test_the_demo_asks_a_table_a_text_and_what_nobody_knows():
    samples = Path(__file__).parents[3] / "samples"
    rows = {row["id"]: row for row in map(json.loads, (samples / "questions.jsonl").read_text().splitlines())}
    assert [rows[number]["kind"] for number in ASKED] == ["table", "text", "unanswerable"]
