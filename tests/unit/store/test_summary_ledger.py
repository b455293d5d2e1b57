"""Summaries as they are asked for, made, read by another process, and forgotten."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ullage.store import SummaryLedger
from ullage.store.database import Place
from ullage.store.summary_reader import read_summary


@pytest.fixture
def ledger(place: Place) -> Iterator[SummaryLedger]:
    ledger = SummaryLedger(place)
    yield ledger
    ledger.close()


def test_a_summary_that_was_asked_for_anew_is_not_overwritten(ledger: SummaryLedger) -> None:
    ledger.ask("c", "a.md", {})
    first = ledger.next_open()
    assert first is not None
    ledger.ask("c", "a.md", {"shallow_summary": True})
    ledger.finish(first, text="old")
    again = ledger.find("c", "a.md")
    assert again is not None
    assert (again.state, again.options) == ("PENDING", {"shallow_summary": True})
    ledger.ask("c", "b.md", {})
    ledger.progress(ledger.find("c", "b.md"), 1, 2, "reading")
    resumed = ledger.next_open()
    assert resumed is not None
    assert (resumed.document, resumed.state, resumed.done) == ("b.md", "IN_PROGRESS", 1)
    ledger.forget("c")
    assert ledger.next_open() is None


def test_a_summary_is_made_and_that_of_one_document_is_forgotten(ledger: SummaryLedger) -> None:
    for name in ("a.md", "b.md"):
        ledger.ask("c", name, {})
    asked = ledger.find("c", "a.md")
    ledger.progress(asked, 0, 3, "begun")
    ledger.progress(asked, 1, 3, "going on")
    began = ledger.find("c", "a.md").started_s
    ledger.finish(asked, text="About tugs. \0", message="cut")
    made = ledger.find("c", "a.md")
    assert (made.state, made.over, made.text[:11], made.message) == ("SUCCESS", True, "About tugs.", "cut")
    assert asked.created_s < began <= made.completed_s == made.updated_s
    ledger.finish(made, error="late")
    assert ledger.find("c", "a.md") == made, "the first outcome stays"
    assert ledger.next_open().document == "b.md"
    ledger.forget("c", "b.md")
    assert (ledger.find("c", "b.md"), ledger.find("c", "a.md")) == (None, made)


def test_another_process_reads_what_is_there_and_nothing_where_there_is_no_ledger(place: Place) -> None:
    assert read_summary(place, "c", "a.md") is None
    ledger = SummaryLedger(place)
    try:
        ledger.ask("c", "a.md", {"x": 1})
        assert read_summary(place, "c", "a.md") == ledger.find("c", "a.md")
        assert read_summary(place, "c", "b\0.md") is None
    finally:
        ledger.close()
    assert read_summary(place, "c", "a.md").options == {"x": 1}
