"""Asking, stopping, opening what is cited, coming back."""

from __future__ import annotations

import pytest

from web_browser import SIZES


@SIZES
def test_an_answer_streams_and_its_citation_opens_the_marked_page(browser, backend, size):
    browser.size(size)
    browser.open()
    browser.ask("When are the sirens tried out?")
    browser.says(".turn.assistant .prose", "every first Thursday")
    assert backend.asked[-1]["collection_names"] == ["multimodal_data"]
    assert [chip.text.split("\n")[0] for chip in browser.all(".chips .chip")] == ["1", "2"]
    browser.click(".prose button.mark")
    browser.find("dialog[open] .box")
    browser.until(lambda: browser.run("return document.querySelector('dialog img').naturalWidth") > 0)
    place = browser.run("""const f = document.querySelector('.sheet-frame').getBoundingClientRect();
        const b = document.querySelector('.box').getBoundingClientRect();
        return [(b.left - f.left) / f.width, (b.top - f.top) / f.height, b.width / f.width, b.height / f.height]""")
    assert place == pytest.approx([72 / 612, 150 / 792, 468 / 612, 60 / 792], abs=0.01)
    assert "Thursday" in browser.text("dialog blockquote")
    browser.click("dialog [data-local=close]")
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
    assert browser.faults() == []


@SIZES
def test_an_answer_can_be_stopped_and_the_server_hears_of_it(browser, backend, size):
    browser.size(size)
    browser.open()
    before = backend.left_early
    browser.ask("a slow one")
    browser.says(".turn.assistant .prose", "word3")
    browser.click(".composer .stop")
    browser.says(".turn.assistant .badges", "Stopped")
    browser.until(lambda: backend.left_early == before + 1)
    browser.ask("When are the sirens tried out?")
    browser.until(lambda: "Thursday" in browser.all(".turn.assistant .prose")[-1].text)


def test_escape_stops_and_slash_goes_to_the_question(browser):
    browser.open()
    browser.ask("a slow one")
    browser.says(".turn.assistant .prose", "word3")
    browser.driver.switch_to.active_element.send_keys("\ue00c")
    browser.says(".turn.assistant .badges", "Stopped")
    browser.run("document.activeElement.blur()")
    browser.find("body").send_keys("/")
    assert browser.run("return document.activeElement.id") == "question"


def test_the_conversation_is_there_after_a_reload_and_can_be_taken_along(browser):
    browser.open()
    browser.ask("When are the sirens tried out?")
    browser.says(".turn.assistant .under", "passages")
    browser.open()
    browser.says(".turn.user", "When are the sirens tried out?")
    browser.click(".chips .chip")
    browser.find("dialog[open] .box")
    exported = browser.run("return fetch('/conversation.md').then(answer => answer.text())")
    assert "## When are the sirens tried out?" in exported
    assert "safety-and-emergency-plan.pdf, page 3" in exported
    browser.click("dialog [data-local=close]")
    browser.click("[data-act='chat.clear']")
    browser.click("[data-act='chat.clear']")
    browser.find(".empty")
    browser.open()
    browser.find(".empty")
    assert not browser.all(".turn")


def test_what_was_left_out_and_what_it_took_is_said(browser, backend):
    backend.degraded = ["ranking"]
    browser.open()
    browser.ask("When are the sirens tried out?")
    browser.says(".badges", "without ranking")
    browser.click(".under details summary")
    browser.says(".under .legend", "rerank")
    browser.says(".under .legend", "88 ms")


def test_a_question_that_cannot_be_answered_says_why(browser):
    browser.open()
    browser.ask("broken")
    browser.says(".turn .fault", "Reranker NIM unavailable at http://x.")


def test_collections_and_filter_go_with_the_question(browser, backend):
    browser.open()
    browser.click("input[name='c:handbook']")
    browser.until(lambda: browser.run("return document.querySelector('[name=\"c:handbook\"]').checked"))
    browser.find("#filter").send_keys('content_metadata["department"] == "harbour"', "\ue004")
    browser.until(lambda: browser.run("return document.activeElement.id") != "filter")
    browser.ask("When?")
    browser.says(".turn.assistant .prose", "Thursday")
    assert backend.asked[-1]["collection_names"] == ["multimodal_data", "handbook"]
    assert backend.asked[-1]["filter_expr"] == 'content_metadata["department"] == "harbour"'
