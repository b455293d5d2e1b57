"""From a hit of the store to a passage."""

from dataclasses import fields, replace

from ullage.rag.passage import Candidate, Passage, from_chunk
from ullage.store import Chunk
from ullage.store.fusion import FoundRow


def passage(document, text="Plan > 4 Fire\nStop the fans.", path=("Safety", "Plan", "4 Fire"), page=3):
    chunk = Chunk(document=document, content_hash="h", ordinal=0, text=text, page=page, path=path)
    return from_chunk(chunk, "c", 0, 0.03)


def test_only_formats_with_pages_have_one():
    assert passage("plan.pdf").place == "plan.pdf, page 3"
    assert passage("plan.md").page is None
    assert passage("plan.md").place == 'plan.md, "4 Fire"'
    assert passage("plan.txt", path=()).place == "plan.txt"


def test_the_line_of_headings_is_not_the_body():
    assert passage("a.md").text[passage("a.md").body_at :] == "Stop the fans."
    assert passage("a.md", text="4 Fire\nStop.").body_at == len("4 Fire\n")
    assert passage("a.md", text="Stop the fans.\nNow.").body_at == 0
    assert passage("a.md", text="4 Fire").body_at == 0


def test_a_candidate_becomes_the_passage_that_it_stands_for():
    row = {"document": "d.pdf", "content_hash": "h", "ordinal": 7, "text": "t", "page": 3, "path": '["a", "b"]',
           "type": "table", "created_s": 6.0, "metadata": {"x": 1}}
    candidate = Candidate(FoundRow("id", 0.5, {"dense": 2}, row), 4, "c")
    passage = Passage("t", "d.pdf", 3, ("a", "b"), "table", "c", 4, 0.5, None, {"x": 1}, 6.0, "h", 7)
    plain = Passage("", "")
    unlike = [field.name for field in fields(Passage) if getattr(passage, field.name) == getattr(plain, field.name)]
    assert unlike == ["logit"]  # every other field would show if it were left out
    assert (candidate.id, candidate.text, candidate.retrieval_score) == (("c", "id"), "t", 0.5)
    assert candidate.read() == passage
    assert candidate.read(-2.5) == replace(passage, logit=-2.5)
