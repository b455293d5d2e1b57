"""From a hit of the store to a passage."""

from ullage.rag.passage import from_hit
from ullage.store import Chunk, Hit


def passage(document, text="Plan > 4 Fire\nStop the fans.", path=("Safety", "Plan", "4 Fire"), page=3):
    chunk = Chunk(document=document, content_hash="h", ordinal=0, text=text, page=page, path=path)
    return from_hit(Hit(chunk, 0.03, {"dense": 1}), 0, "c")


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
