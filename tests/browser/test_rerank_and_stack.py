"""The ranking playground, and the machine."""

from __future__ import annotations

from web_browser import SIZES


@SIZES
def test_passages_are_reranked_side_by_side(browser, size):
    browser.size(size)
    browser.open("/rerank")
    browser.find("#rank-query").send_keys("siren tested")
    browser.find("#rank-passages").send_keys("Lunch is at noon.\n\nThe siren is tested on Thursday.")
    browser.click("[data-act='rerank.rank'] .main")
    browser.says(".sides section:nth-child(2) li", "The siren is tested")
    browser.says(".sides section:nth-child(1) li", "Lunch")
    browser.says(".facts", "0 truncated")
    browser.says(".numbers", "13 tokens")
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]


def test_the_last_questions_candidates_are_taken_along(browser):
    browser.open()
    browser.ask("When are the sirens tried out?")
    browser.says(".turn.assistant .under", "passages")
    browser.click("nav [data-part=rerank]")
    browser.click("[data-act='rerank.take']")
    browser.says(".facts", "3 passages")
    assert browser.find("#rank-query").get_attribute("value") == "When are the sirens tried out?"
    assert browser.run("return location.pathname") == "/rerank"


@SIZES
def test_the_plan_is_shown_and_a_service_restarted(browser, backend, size):
    browser.size(size)
    backend.restarted.clear()
    browser.open("/stack")
    browser.says(".device", "ranking 336 MiB")
    assert "NVIDIA A100" in browser.text(".device:nth-of-type(2)")
    browser.says(".services .service:nth-child(2)", "ready")
    button = "[data-act='stack.restart'][data-value=ranking]"
    browser.click(button)
    browser.click(button)
    browser.says(".services .service:nth-child(2)", "starting")
    assert backend.restarted == ["ranking"]
    browser.click(".settings summary")
    browser.says(".settings", "flag")
    browser.says(".services", "out of memory × 2")
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
