"""Sentences are let through as soon as they are complete, however the stream is cut."""

from dataclasses import replace

import pytest

from ullage.rag.draft import Draft
from ullage.rag.evidence import candidates
from ullage.rag.passage import Passage
from ullage.rag.question import read_question
from ullage.rag.sentences import split

TEXTS = [
    "The tug takes 4.2 m³. It is No. 4 of the fleet (the best!). \"Is it?\" Yes… it is.\n\nLast one",
    "- First item.\n- Second item\n\n| a | b |\n|---|---|\n| 1 | 2 |\nEnd",
    "One — Power: 3 kW; Site: Dunlin\rTwo. Three\x0bFour\u2028Five.  ",
    "Dr. Ng of Tidemark Ltd. came at 5 p.m. and left.He said no.\tThen: nothing",
]


def whole_each_time(pieces):
    """All that is pending is split again with each piece."""
    pending, said = "", []
    for piece in pieces:
        pending += piece
        units = split(pending)
        complete = units[:-1] if not pending.endswith("\n") else units
        if complete:
            pending = pending[complete[-1].end :]
            said += [unit.text for unit in complete]
    return said, [unit.text for unit in split(pending)]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 200])
def test_a_piece_in_which_no_sentence_may_end_changes_nothing(text, size):
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    draft = Draft(read_question("What?"), [], [])
    heard = [sentence for piece in pieces for sentence in draft.hear(piece)]
    assert (heard, list(draft.end())) == whole_each_time(pieces)
    assert heard or size == 200


def test_a_rehearsal_says_nothing_and_changes_no_judgement():
    question = read_question("How often is pump 4711 serviced?")
    passages = [Passage("Pump 4711 is serviced every 12 weeks. It is blue.", "a.md")]
    evidence = [replace(item, score=item.score + 3) for item in candidates(question, passages)]  # as with vectors
    plain, rehearsed = (Draft(question, passages, evidence) for _ in range(2))
    rehearsed.rehearse()
    assert (rehearsed.sentences, rehearsed.withheld, rehearsed.answered) == ([], [], False)
    for said in ("Pump 4711 is serviced every 12 weeks.", "Pump 4711 is serviced every 13 weeks."):
        assert rehearsed.judge(said) == plain.judge(said)
    assert plain.judge("Pump 4711 is serviced every 12 weeks.").found is not None
    Draft(question, [], []).rehearse()
